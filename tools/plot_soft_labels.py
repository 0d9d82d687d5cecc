"""Draw the soft labels of a checkpoint."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('plot_soft_labels')
