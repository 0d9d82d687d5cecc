"""Draw classifiers' features by t-SNE."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('plot_features')
