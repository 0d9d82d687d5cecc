"""Train a detector or a classifier from a config."""

from mmdet_ols.cli.train import main

if __name__ == '__main__':
    main()
