"""Results of the paper (arXiv 2401.02412), made again from nothing: `calm reproduce`."""
