"""Test a trained detector or classifier."""

from mmdet_ols.cli.main import run_tool

if __name__ == '__main__':
    run_tool('test')
