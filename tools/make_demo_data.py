"""Draw the demo data set."""

from mmdet_ols.cli.make_demo_data import main

if __name__ == '__main__':
    main()
