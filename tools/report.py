"""Write one HTML page about a run."""

from mmdet_ols.cli.report import main

if __name__ == '__main__':
    main()
