#include "xy.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace eqp {

State::State(const Sample& sample, Workers& workers)
    : cosine(static_cast<std::size_t>(sample.graph.n)),
      sine(cosine.size()),
      gradient(cosine.size()),
      values(sample.coupling.size()),
      diagonal(cosine.size()),
      sample_(sample),
      workers_(workers),
      chunks_(sample.graph.n) {}

void State::at(const double* phases, bool with_hessian) {
  const Graph& graph = sample_.graph;
  chunks_.each(workers_, [&](int begin, int end) {
    phasors(phases, cosine.data(), sine.data(), begin, end);
  });
  gradient_max = chunks_.max(workers_, [&](int begin, int end) {
    const double *c = cosine.data(), *s = sine.data(), *j = sample_.coupling.data();
    const std::int32_t* column = graph.column.data();
    for (int i = begin; i < end; ++i) {
      double re = sample_.field_re[i], im = sample_.field_im[i];
      for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
        re += j[k] * c[column[k]];
        im += j[k] * s[column[k]];
      }
      gradient[i] = s[i] * re - c[i] * im;
      if (with_hessian) {
        diagonal[i] = c[i] * re + s[i] * im;
        for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
          values[k] = -j[k] * (c[i] * c[column[k]] + s[i] * s[column[k]]);
        }
      }
    }
    return largest(gradient.data(), begin, end);
  });
  if (!with_hessian) return;
  gradient_sum = chunks_.sum(workers_, [&](int begin, int end) {
    return dot(gradient.data(), gradient.data(), begin, end);
  });
}

double stiffness(const Sample& sample) {
  const Graph& graph = sample.graph;
  double most = 0.0;
  for (int i = 0; i < graph.n; ++i) {
    double sum = std::hypot(sample.field_re[i], sample.field_im[i]);
    for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) sum += 2.0 * std::fabs(sample.coupling[k]);
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace eqp
