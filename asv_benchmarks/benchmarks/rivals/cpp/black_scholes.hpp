// The price of a call option after Black and Scholes, and its slopes in closed form.
// Variables: spot, strike, rate, volatility, time.

#pragma once

#include <cmath>

inline double normal(double x) { return 0.5 * (1.0 + std::erf(x * 0.70710678118654752440)); }

struct Option {
  double price, density, deviation;  // the density of the normal distribution at `upper`

  Option(const double* x, double* g) {
    const double spot = x[0], strike = x[1], rate = x[2], volatility = x[3], time = x[4];
    const double root = std::sqrt(time);
    deviation = volatility * root;
    const double upper =
        (std::log(spot / strike) + (rate + 0.5 * volatility * volatility) * time) / deviation;
    const double above = normal(upper);
    const double present = std::exp(-rate * time);
    const double below = present * normal(upper - deviation);
    density = 0.39894228040143267794 * std::exp(-0.5 * upper * upper);
    price = spot * above - strike * below;
    g[0] = above;
    g[1] = -below;
    g[2] = strike * time * below;
    g[3] = spot * density * root;
    g[4] = 0.5 * spot * density * volatility / root + rate * strike * below;
  }
};
