"""Train a detector or a classifier from a config."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('train')
