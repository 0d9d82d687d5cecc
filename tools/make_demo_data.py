"""Draw the demo data set."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('make_demo_data')
