"""Print tables from the rows of finished runs, or fill the pages with them."""

from mmdet_ols.cli.evidence import main

if __name__ == '__main__':
    main()
