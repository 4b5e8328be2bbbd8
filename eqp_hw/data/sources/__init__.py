"""Where data sets come from: logic tables, scikit-learn, CSV files, IDX folders."""
