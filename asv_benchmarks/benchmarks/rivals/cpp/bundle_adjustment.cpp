// The Jacobian of a reprojection's residual: one forward pass, two adjoint passes.

#include <cmath>

namespace {

void jacobian(const double* x, const double* found, double* result) {
  const double angle = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
  const double by_angle = 1.0 / angle;
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const double a = x[0] * by_angle, b = x[1] * by_angle, c = x[2] * by_angle;
  const double dx = x[11] - x[3], dy = x[12] - x[4], dz = x[13] - x[5];
  const double dot = a * dx + b * dy + c * dz;
  const double along = dot * (1.0 - cosine);
  const double turned_x = b * dz - c * dy, turned_y = c * dx - a * dz, turned_z = a * dy - b * dx;
  const double px = dx * cosine + turned_x * sine + a * along;
  const double py = dy * cosine + turned_y * sine + b * along;
  const double pz = dz * cosine + turned_z * sine + c * along;
  const double by_depth = 1.0 / pz;
  const double image[2] = {px * by_depth, py * by_depth};
  const double radius = image[0] * image[0] + image[1] * image[1];
  const double distortion = 1.0 + radius * (x[9] + radius * x[10]);
  const double scale = x[6] * distortion;
  const double weight = x[14];

  for (int row = 0; row < 2; ++row) {
    double* g = result + 15 * row;
    const double scale_bar = weight * image[row];
    g[6] = scale_bar * distortion;
    g[7] = row == 0 ? weight : 0.0;
    g[8] = row == 1 ? weight : 0.0;
    g[9] = scale_bar * x[6] * radius;
    g[10] = g[9] * radius;
    g[14] = scale * image[row] + x[7 + row] - found[row];

    const double radius_bar = scale_bar * x[6] * (x[9] + 2.0 * radius * x[10]);
    double image_bar[2] = {2.0 * image[0] * radius_bar, 2.0 * image[1] * radius_bar};
    image_bar[row] += weight * scale;
    const double px_bar = image_bar[0] * by_depth;
    const double py_bar = image_bar[1] * by_depth;
    const double pz_bar = -(image[0] * px_bar + image[1] * py_bar);

    const double along_bar = a * px_bar + b * py_bar + c * pz_bar;
    const double dot_bar = along_bar * (1.0 - cosine);
    const double cosine_bar = dx * px_bar + dy * py_bar + dz * pz_bar - along_bar * dot;
    const double sine_bar = turned_x * px_bar + turned_y * py_bar + turned_z * pz_bar;
    // Of sine · (the cross product of axis and distance).
    const double sx = sine * px_bar, sy = sine * py_bar, sz = sine * pz_bar;
    const double a_bar = along * px_bar + dx * dot_bar - dz * sy + dy * sz;
    const double b_bar = along * py_bar + dy * dot_bar + dz * sx - dx * sz;
    const double c_bar = along * pz_bar + dz * dot_bar - dy * sx + dx * sy;
    const double dx_bar = cosine * px_bar + a * dot_bar + c * sy - b * sz;
    const double dy_bar = cosine * py_bar + b * dot_bar - c * sx + a * sz;
    const double dz_bar = cosine * pz_bar + c * dot_bar + b * sx - a * sy;

    const double angle_bar = cosine * sine_bar - sine * cosine_bar -
                             (a * a_bar + b * b_bar + c * c_bar) * by_angle;
    g[0] = a_bar * by_angle + angle_bar * a;
    g[1] = b_bar * by_angle + angle_bar * b;
    g[2] = c_bar * by_angle + angle_bar * c;
    g[3] = -dx_bar;
    g[4] = -dy_bar;
    g[5] = -dz_bar;
    g[11] = dx_bar;
    g[12] = dy_bar;
    g[13] = dz_bar;
  }
}

}  // namespace

extern "C" void derivative(
    long count, const double* points, long size, const double* found, double* results) {
  for (long k = 0; k < count; ++k) jacobian(points + k * size, found, results + k * 2 * size);
}
