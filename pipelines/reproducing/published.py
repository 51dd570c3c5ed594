"""Figures of others, in %, by method and data set: the paper's, and those first published with the
rivals' recipes. None of them was measured here."""

# https://arxiv.org/abs/2507.12359, table 1: ResNet-18, linear evaluation.
PAPER_LINEAR = {
    "byol": dict(cifar10=92.61, cifar100=70.18, imagenet100=80.09),
    "moco_v2": dict(cifar10=92.94, cifar100=69.54, imagenet100=78.20),
    "moco_v3": dict(cifar10=93.10, cifar100=68.83, imagenet100=80.86),
    "vicreg": dict(cifar10=90.07, cifar100=68.54, imagenet100=79.22),
    "swav": dict(cifar10=89.17, cifar100=64.67, imagenet100=74.28),
    "cueco": dict(cifar10=91.40, cifar100=68.56, imagenet100=78.65),
}
# Table 2: NMI and ACC of clusters.
PAPER_CLUSTERS = {
    "moco_v2": dict(cifar10=(60.96, 63.51), cifar100=(51.77, 31.72)),
    "simclr": dict(cifar10=(69.03, 74.50), cifar100=(50.75, 32.17)),
    "cueco": dict(cifar10=(69.33, 75.06), cifar100=(52.37, 33.82)),
}
# Table 3: CIFAR-100, the losses that are on; linear top-1, NMI, ACC, ARI.
PAPER_ABLATION = {
    ("L1",): (67.9, 50.5, 31.1, 8.3),
    ("L1", "L2"): (66.9, 54.6, 34.5, 14.9),
    ("L1", "L3"): (68.4, 51.2, 32.3, 8.6),
    ("L1", "L2", "L3"): (68.5, 52.3, 33.8, 11.3),
}
# https://github.com/vturrisi/solo-learn, ResNet-18, 1000 epochs, on ImageNet-100 400: the probe
# trained beside the encoder, and where there are two figures the linear evaluation after it.
SOLO_LEARN = {
    "moco_v3": dict(cifar10=(93.10,), cifar100=(68.83,), imagenet100=(80.36, 80.36)),
    "moco_v2": dict(cifar10=(92.94,), cifar100=(69.89,), imagenet100=(78.20, 79.28)),
    "byol": dict(cifar10=(92.58,), cifar100=(70.46,), imagenet100=(80.16, 80.32)),
    "vicreg": dict(cifar10=(92.07,), cifar100=(68.54,), imagenet100=(79.22, 79.40)),
    "simclr": dict(cifar10=(90.74,), cifar100=(65.78,), imagenet100=(77.64,)),
    "swav": dict(cifar10=(89.17,), cifar100=(64.88,), imagenet100=(74.04, 74.28)),
}
# https://arxiv.org/abs/2111.11821, ResNet-18: cosine k-means on the slow network's z, trained and
# scored on the images of both splits. NMI, ACC, ARI.
PROPOS_CLUSTERS = {
    "byol": dict(cifar10=(81.7, 89.4, 79.0)),
    "moco_v2": dict(cifar10=(66.9, 77.6, 60.8)),
}
