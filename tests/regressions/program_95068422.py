"""TraceError: an object array refused to be changed in place"""

import numpy as np
import scipy.special
from numpy import array, inf, nan

SIZE, EXACT, GENERIC = 1, True, False

POINTS = [
    (array([-1.0]), array([[-0.5], [1.5]]), -0.0),
    (array([-1.5]), array([[-0.5], [-1.5]]), 0.0),
    (
        array([0.18905338179353307]),
        array([[-0.5227484414807474], [-0.41306354339189344]]),
        -2.4414673826398556,
    ),
    (
        array([1.799707382720902]),
        array([[1.1441658720372287], [-0.32542283686782436]]),
        0.7738065867276614,
    ),
]


def program(x, y, t):
    a = np.array([t, t, t])
    a += t
    return a[0], t * 0.5
