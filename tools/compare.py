"""Train and test methods with the same seeds, and compare what they reach."""

from mmdet_ols.cli.compare import main

if __name__ == '__main__':
    main()
