"""Shares of images in prototypes that are all used alike."""

from keras import ops


def sinkhorn(scores, epsilon, used, rounds=3):
    """Turns similarities into shares: each image's sum to 1, each prototype's to about N / L.

    Args:
        scores: `(N, L)`, cosines.
        epsilon: float >= 0.025, below which float32 loses what is unlikely; the larger, the more
            alike are an image's shares.
        used: `(N,)`, 1 for the images that are to be balanced, 0 for others, which get shares and
            have no say in those of the used ones. One at least has to be used.
        rounds: integer >= 1. Defaults to 3.

    Returns:
        `(N, L)`; rows sum to 1.

    Reference: SwAV, https://arxiv.org/abs/2006.09882, section 3.1 and its listing.
    """
    # Scaling a column changes nothing, for columns are scaled first.
    shares = ops.exp((scores - ops.max(scores, axis=0)) / epsilon)
    for _ in range(rounds):
        shares = shares / ops.sum(shares * used[:, None], axis=0)
        shares = shares / ops.sum(shares, axis=1, keepdims=True)
    return shares
