"""Make the paper's tables: plan their runs, run them, see how far they are, write the page."""

from mmdet_ols.cli.reproduce import main

if __name__ == '__main__':
    main()
