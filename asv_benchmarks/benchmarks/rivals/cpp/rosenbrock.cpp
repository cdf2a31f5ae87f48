// The gradient of Rosenbrock's chained valley.

extern "C" void derivative(
    long count, const double* points, long size, const double*, double* results) {
  for (long k = 0; k < count; ++k) {
    const double* x = points + k * size;
    double* g = results + k * size;
    // A term of x[i] and x[i + 1] adds to both; what it adds to x[i + 1] waits in `carried`,
    // so that each element is written once.
    double carried = 0.0;
    for (long i = 0; i + 1 < size; ++i) {
      const double rise = x[i + 1] - x[i] * x[i];
      g[i] = carried - 400.0 * x[i] * rise - 2.0 * (1.0 - x[i]);
      carried = 200.0 * rise;
    }
    g[size - 1] = carried;
  }
}
