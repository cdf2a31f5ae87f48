"""Functions without a rule that people may well call: why, and what to write instead."""

from numtape.trace.functions.common import refuses

__all__: list[str] = []

_REFUSED = {
    "how many bins there are, and where, would follow the data. Give their edges to np.histogram": (
        "histogram_bin_edges",
    ),
    "bits have no derivative. Keep floats": ("packbits", "unpackbits"),
    "a file holds plain numbers. Return the values, and save what the function returns": (
        *("save", "savetxt", "savez", "savez_compressed"),
    ),
}
for _reason, _names in _REFUSED.items():
    refuses(_reason, *_names)
