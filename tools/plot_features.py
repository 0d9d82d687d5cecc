"""Draw classifiers' features by t-SNE."""

from mmdet_ols.cli.plot_features import main

if __name__ == '__main__':
    main()
