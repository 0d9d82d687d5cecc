"""Print tables from the rows of finished runs, or fill the pages with them."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('evidence')
