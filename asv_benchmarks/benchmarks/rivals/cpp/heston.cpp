// The gradient of what a call option pays at the end of one path of Heston's model.

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

struct Step {  // what the way back needs of a step
  double positive, root, shock;
  bool above;
};

void gradient(
    const double* x, long steps, double years, const double* normals, Step* path, double* g) {
  const double rate = x[2], reversion = x[3], mean = x[4], volatility = x[5], correlation = x[6];
  const double step = years / steps;
  const double other = std::sqrt(1.0 - correlation * correlation);
  double price = x[0], variance = x[1];
  for (long i = 0; i < steps; ++i) {
    const double first = normals[2 * i], second = normals[2 * i + 1];
    const double positive = std::max(variance, 0.0);
    const double root = std::sqrt(positive * step);
    const double shock = correlation * first + other * second;
    price *= std::exp((rate - 0.5 * positive) * step + root * first);
    path[i] = {positive, root, shock, variance > 0.0};
    variance += reversion * (mean - positive) * step + volatility * root * shock;
  }

  std::fill(g, g + 8, 0.0);
  if (price <= x[7]) return;
  const double discount = std::exp(-rate * years);
  double variance_bar = 0.0, other_bar = 0.0;
  double rate_bar = -years * discount * (price - x[7]);
  double reversion_bar = 0.0, mean_bar = 0.0, volatility_bar = 0.0, correlation_bar = 0.0;
  // The price's adjoint times the price is the same after each step: the exponent's adjoint.
  const double exponent_bar = discount * price;
  for (long i = steps - 1; i >= 0; --i) {
    const double first = normals[2 * i], second = normals[2 * i + 1];
    const Step& at = path[i];
    const double shock_bar = variance_bar * volatility * at.root;
    rate_bar += exponent_bar * step;
    reversion_bar += variance_bar * (mean - at.positive) * step;
    mean_bar += variance_bar * reversion * step;
    volatility_bar += variance_bar * at.root * at.shock;
    correlation_bar += shock_bar * first;
    other_bar += shock_bar * second;
    const double root_bar = exponent_bar * first + variance_bar * volatility * at.shock;
    const double positive_bar = -0.5 * step * exponent_bar - variance_bar * reversion * step;
    if (at.above) variance_bar += positive_bar + root_bar * 0.5 * step / at.root;
  }
  g[0] = exponent_bar / x[0];
  g[1] = variance_bar;
  g[2] = rate_bar;
  g[3] = reversion_bar;
  g[4] = mean_bar;
  g[5] = volatility_bar;
  g[6] = correlation_bar - other_bar * correlation / other;
  g[7] = -discount;
}

}  // namespace

// Data: the number of steps, the years, and two normal numbers for each step.
extern "C" void derivative(
    long count, const double* points, long size, const double* data, double* results) {
  const long steps = static_cast<long>(data[0]);
  std::vector<Step> path(steps);
  for (long k = 0; k < count; ++k)
    gradient(points + k * size, steps, data[1], data + 2, path.data(), results + k * size);
}
