"""Write one HTML page about a run."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('report')
