#include "conjugate.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace eqp {

void multiply(const Matrix& a, const double* x, double* y, int begin, int end) {
  const Graph& graph = *a.graph;
  const std::int32_t* column = graph.column.data();
  for (int i = begin; i < end; ++i) {
    double sum = (a.diagonal[i] + a.shift) * x[i];
    for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) sum += a.values[k] * x[column[k]];
    y[i] = sum;
  }
}

Incomplete::Incomplete(const Graph& graph, Workers& workers)
    : graph_(graph), workers_(workers), chunks_(graph.n) {
  const auto n = static_cast<std::size_t>(graph.n);
  inverse_.resize(n);
  lower_row_.assign(1, 0);
  upper_row_.assign(1, 0);
  lower_row_.reserve(n + 1);
  upper_row_.reserve(n + 1);
  for (std::int64_t c = 0; c < chunks_.count(); ++c) {
    const int begin = chunks_.begin(c), end = chunks_.end(c);
    for (int i = begin; i < end; ++i) {
      for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
        const std::int32_t j = graph.column[k];
        if (j < begin || j >= end) continue;
        (j < i ? lower_column_ : upper_column_).push_back(j);
        (j < i ? lower_from_ : upper_from_).push_back(k);
      }
      lower_row_.push_back(static_cast<std::int64_t>(lower_column_.size()));
      upper_row_.push_back(static_cast<std::int64_t>(upper_column_.size()));
    }
  }
  lower_.resize(lower_column_.size());
  upper_.resize(upper_column_.size());
}

void Incomplete::build(const Matrix& a) {
  chunks_.each(workers_, [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      const double diagonal = a.diagonal[i] + a.shift;
      double pivot = diagonal;
      for (auto k = lower_row_[i]; k < lower_row_[i + 1]; ++k) {
        const double value = a.values[lower_from_[k]];
        lower_[k] = static_cast<float>(value);
        pivot -= value * value * inverse_[lower_column_[k]];
      }
      for (auto k = upper_row_[i]; k < upper_row_[i + 1]; ++k) {
        upper_[k] = static_cast<float>(a.values[upper_from_[k]]);
      }
      pivot = std::max(pivot, 0.1 * std::fabs(diagonal));
      inverse_[i] = pivot > 0.0 ? 1.0 / pivot : 1.0;
    }
  });
}

void Incomplete::apply(const double* r, double* z, std::int64_t chunk) const {
  const int begin = chunks_.begin(chunk), end = chunks_.end(chunk);
  for (int i = begin; i < end; ++i) {
    double sum = r[i];
    for (auto k = lower_row_[i]; k < lower_row_[i + 1]; ++k) sum -= lower_[k] * z[lower_column_[k]];
    z[i] = sum * inverse_[i];
  }
  for (int i = end; i-- > begin;) {
    double sum = 0.0;
    for (auto k = upper_row_[i]; k < upper_row_[i + 1]; ++k) sum += upper_[k] * z[upper_column_[k]];
    z[i] -= sum * inverse_[i];
  }
}

double Incomplete::advance(double alpha, const double* p, const double* q, double* x, double* r,
                           double* z, std::int64_t chunk, double& most) const {
  const int begin = chunks_.begin(chunk), end = chunks_.end(chunk);
  const float *lower = lower_.data(), *upper = upper_.data();
  const std::int32_t *left = lower_column_.data(), *right = upper_column_.data();
  std::int64_t k = lower_row_[begin];
  for (int i = begin; i < end; ++i) {
    x[i] += alpha * p[i];
    double sum = r[i] - alpha * q[i];
    r[i] = sum;
    for (const std::int64_t stop = lower_row_[i + 1]; k < stop; ++k) sum -= lower[k] * z[left[k]];
    z[i] = sum * inverse_[i];
  }
  double total = 0.0, largest_residual = 0.0;
  k = upper_row_[end];
  for (int i = end; i-- > begin;) {
    double sum = 0.0;
    for (const std::int64_t stop = upper_row_[i]; k > stop;) {
      --k;
      sum += upper[k] * z[right[k]];
    }
    z[i] -= sum * inverse_[i];
    total += r[i] * z[i];
    largest_residual = std::max(largest_residual, std::fabs(r[i]));
  }
  most = largest_residual;  // a NaN shows in the sum
  return total;
}

Conjugate::Conjugate(const Graph& graph, Workers& workers)
    : graph_(graph),
      workers_(workers),
      chunks_(graph.n),
      r_(static_cast<std::size_t>(graph.n)),
      z_(r_.size()),
      p_(r_.size()),
      q_(r_.size()),
      partial_rz_(static_cast<std::size_t>(chunks_.count())),
      partial_max_(partial_rz_.size()) {}

Solution Conjugate::solve(const Matrix& a, const Incomplete& m, const double* b, double* x,
                          double tolerance, int limit) {
  double *r = r_.data(), *z = z_.data(), *p = p_.data(), *q = q_.data();
  const auto reduce = [](const std::vector<double>& partial) {
    double total = 0.0;
    for (double part : partial) total += part;
    return total;
  };
  // z = M⁻¹ r with (r, z) and max|r| of each chunk
  const auto precondition = [&](std::int64_t c) {
    m.apply(r, z, c);
    partial_rz_[c] = dot(r, z, chunks_.begin(c), chunks_.end(c));
    partial_max_[c] = largest(r, chunks_.begin(c), chunks_.end(c));
  };
  workers_.run(chunks_.count(), [&](std::int64_t c) {
    const int begin = chunks_.begin(c), end = chunks_.end(c);
    multiply(a, x, r, begin, end);
    for (int i = begin; i < end; ++i) r[i] = b[i] - r[i];
    precondition(c);
    std::copy(z + begin, z + end, p + begin);
  });
  double rz = reduce(partial_rz_);
  for (int iteration = 0;; ++iteration) {
    const double residual = *std::max_element(partial_max_.begin(), partial_max_.end());
    if (!std::isfinite(rz)) return {Outcome::kStalled, iteration};
    if (residual <= tolerance) return {Outcome::kConverged, iteration};
    if (iteration == limit) return {Outcome::kStalled, iteration};
    const double curvature = chunks_.sum(workers_, [&](int begin, int end) {
      multiply(a, p, q, begin, end);
      return dot(p, q, begin, end);
    });
    if (!(curvature > 0.0)) return {Outcome::kIndefinite, iteration};
    const double alpha = rz / curvature;
    workers_.run(chunks_.count(), [&](std::int64_t c) {
      partial_rz_[c] = m.advance(alpha, p, q, x, r, z, c, partial_max_[c]);
    });
    const double next = reduce(partial_rz_);
    const double beta = next / rz;
    rz = next;
    chunks_.each(workers_, [&](int begin, int end) { xpby(z, beta, p, begin, end); });
  }
}

Solution Conjugate::minres(const Matrix& a, const Precondition& m, const double* b, double* x,
                           double relative, int limit) {
  const auto n = static_cast<std::size_t>(graph_.n);
  std::vector<double> before(n), now(b, b + n), y(n), v(n), w(n, 0.0), w1(n, 0.0), w2(n, 0.0);
  const auto inner = [&](const std::vector<double>& s, const std::vector<double>& t) {
    return chunks_.sum(workers_, [&](int begin, int end) {
      return dot(s.data(), t.data(), begin, end);
    });
  };
  std::fill(x, x + n, 0.0);
  m(now.data(), y.data());
  double beta = std::sqrt(inner(now, y));
  if (!(beta > 0.0)) return {beta == 0.0 ? Outcome::kConverged : Outcome::kStalled, 0};
  const double goal = relative * beta;
  double old_beta = 0.0, delta_bar = 0.0, epsilon = 0.0, phi = beta, cs = -1.0, sn = 0.0;
  for (int iteration = 1; iteration <= limit; ++iteration) {
    const double scale = 1.0 / beta;
    for (std::size_t i = 0; i < n; ++i) v[i] = y[i] * scale;
    chunks_.each(workers_, [&](int begin, int end) { multiply(a, v.data(), y.data(), begin, end); });
    if (iteration > 1) axpy(-beta / old_beta, before.data(), y.data(), 0, graph_.n);
    const double alpha = inner(v, y);
    axpy(-alpha / beta, now.data(), y.data(), 0, graph_.n);
    before.swap(now);
    now = y;
    m(now.data(), y.data());
    old_beta = beta;
    const double square = inner(now, y);
    if (!(square >= 0.0)) return {Outcome::kStalled, iteration};
    beta = std::sqrt(square);
    const double old_epsilon = epsilon;
    const double delta = cs * delta_bar + sn * alpha;
    const double gamma_bar = sn * delta_bar - cs * alpha;
    epsilon = sn * beta;
    delta_bar = -cs * beta;
    const double gamma = std::max(std::hypot(gamma_bar, beta), 1e-300);
    cs = gamma_bar / gamma;
    sn = beta / gamma;
    const double step = cs * phi;
    phi *= sn;
    w1.swap(w2);
    w2.swap(w);
    for (std::size_t i = 0; i < n; ++i) {
      w[i] = (v[i] - old_epsilon * w1[i] - delta * w2[i]) / gamma;
      x[i] += step * w[i];
    }
    if (!std::isfinite(phi)) return {Outcome::kStalled, iteration};
    if (phi <= goal) return {Outcome::kConverged, iteration};
    if (beta == 0.0) break;
  }
  return {Outcome::kStalled, limit};
}

}  // namespace eqp
