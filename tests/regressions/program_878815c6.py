"""Disagreement: a sum walked the array by its slots"""

import numpy as np
import scipy.special
from numpy import array, inf, nan

SIZE, EXACT, GENERIC = 2, True, False

POINTS = [
    (array([-1.0, -0.5]), array([[0.5, 0.0], [-1.5, -1.5]]), 1.5),
    (array([1.0, -1.5]), array([[1.0, -0.5], [0.0, 1.5]]), -1.0),
    (
        array([0.18905338179353307, -0.5227484414807474]),
        array(
            [[-0.41306354339189344, -2.4414673826398556], [1.799707382720902, 1.1441658720372287]]
        ),
        -0.32542283686782436,
    ),
    (
        array([0.7738065867276614, 0.28121066979764925]),
        array(
            [[-0.5538228364240524, 0.9775674511260357], [-0.31055654665915255, -0.3288239040579627]]
        ),
        -0.7921467553588982,
    ),
]


def program(x, y, t):
    a = y * 0.5
    a[1:] += 0.5 * a[:-1]
    return a, np.sum(a), t * 0.5
