"""Draw the soft labels of a checkpoint."""

from mmdet_ols.cli.plot_soft_labels import main

if __name__ == '__main__':
    main()
