"""Groups of embeddings without labels: a tree of clusters, how many there are, near-duplicates.

Arrays in, arrays out; needs NumPy, SciPy and scikit-learn alone.
"""
