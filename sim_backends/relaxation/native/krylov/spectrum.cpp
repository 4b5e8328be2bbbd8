#include "spectrum.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels.hpp"

namespace eqp {
namespace {

constexpr int kWarmUp = 30;

// Largest eigenvalue of a symmetric tridiagonal matrix and the last component of its vector.
struct TopPair {
  double value, last;
};

TopPair top_pair(const std::vector<double>& diagonal, const std::vector<double>& off) {
  const std::size_t n = diagonal.size();
  double low = diagonal[0], high = diagonal[0];
  for (std::size_t i = 0; i < n; ++i) {
    const double reach = (i > 0 ? std::fabs(off[i - 1]) : 0.0) + (i + 1 < n ? std::fabs(off[i]) : 0.0);
    low = std::max(low, diagonal[i]);
    high = std::max(high, diagonal[i] + reach);
  }
  // Bisection with Sturm counts: is every eigenvalue below x?
  const auto below = [&](double x) {
    double pivot = diagonal[0] - x;
    if (!(pivot < 0.0)) return false;
    for (std::size_t i = 1; i < n; ++i) {
      pivot = diagonal[i] - x - off[i - 1] * off[i - 1] / pivot;
      if (!(pivot < 0.0)) return false;
    }
    return true;
  };
  for (int k = 0; k < 200 && high - low > 4e-16 * std::fabs(high); ++k) {
    const double middle = 0.5 * (low + high);
    if (middle == low || middle == high) break;
    (below(middle) ? high : low) = middle;
  }
  // Just above the largest eigenvalue all pivots are negative, and the ratios of successive
  // vector components follow from the recurrence downwards.
  const double value = high;
  double size = 1.0, component = 1.0, pivot = diagonal[0] - value;
  for (std::size_t i = 1; i < n; ++i) {
    component *= off[i - 1] != 0.0 ? -pivot / off[i - 1] : 0.0;
    size += component * component;
    pivot = diagonal[i] - value - off[i - 1] * off[i - 1] / std::min(pivot, -1e-300);
    if (size > 1e200) {
      component /= std::sqrt(size);
      size = 1.0;
    }
  }
  return {value, component / std::sqrt(size)};
}

// Fixed pseudo-random numbers in (−1, 1), the same for every run (splitmix64).
double hashed(std::uint64_t index) {
  std::uint64_t x = index * 0x9E3779B97F4A7C15ull + 0x632BE59BD9B4E019ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1.0p-52 - 1.0;
}

class Vectors {
 public:
  Vectors(int n, Workers& workers) : n_(n), workers_(workers), chunks_(n) {}
  double inner(const std::vector<double>& a, const std::vector<double>& b) {
    return chunks_.sum(workers_, [&](int begin, int end) {
      return dot(a.data(), b.data(), begin, end);
    });
  }
  void add(double alpha, const std::vector<double>& x, std::vector<double>& y) {
    chunks_.each(workers_, [&](int begin, int end) { axpy(alpha, x.data(), y.data(), begin, end); });
  }
  void scale(double alpha, std::vector<double>& x) {
    chunks_.each(workers_, [&](int begin, int end) {
      for (int i = begin; i < end; ++i) x[i] *= alpha;
    });
  }
  std::vector<double> start() const {
    std::vector<double> v(static_cast<std::size_t>(n_));
    for (int i = 0; i < n_; ++i) v[i] = hashed(static_cast<std::uint64_t>(i));
    return v;
  }

 private:
  int n_;
  Workers& workers_;
  Chunks chunks_;
};

}  // namespace

double inverse_lanczos(Linear& linear, const Graph& graph, Workers& workers, double shift,
                       double tolerance, int limit) {
  Vectors algebra(graph.n, workers);
  std::vector<std::vector<double>> basis{algebra.start()};
  algebra.scale(1.0 / std::sqrt(algebra.inner(basis[0], basis[0])), basis[0]);
  std::vector<double> diagonal, off, w(basis[0].size());
  limit = std::min(limit, graph.n);
  for (int k = 0;; ++k) {
    linear.back_solve(basis[k].data(), w.data());
    diagonal.push_back(algebra.inner(basis[k], w));
    for (int pass = 0; pass < 2; ++pass) {
      for (const auto& v : basis) algebra.add(-algebra.inner(v, w), v, w);
    }
    const double beta = std::sqrt(algebra.inner(w, w));
    const TopPair top = top_pair(diagonal, off);
    const bool exhausted = !(beta > 1e-14 * top.value) || k + 1 >= limit;
    if (exhausted || std::fabs(beta * top.last) <= tolerance * top.value) {
      return 1.0 / top.value - shift;
    }
    off.push_back(beta);
    algebra.scale(1.0 / beta, w);
    basis.push_back(w);
  }
}

double rayleigh_descent(Linear& linear, const Matrix& h, Workers& workers, double stiffness,
                        double tolerance, int limit) {
  const Graph& graph = *h.graph;
  Vectors algebra(graph.n, workers);
  Chunks chunks(graph.n);
  // The preconditioner sees H shifted, so that it is tame where H is indefinite: at first far,
  // then, with a Ritz value at hand, just enough.
  linear.incomplete.build({h.graph, h.values, h.diagonal, h.shift + stiffness});
  const auto apply = [&](const std::vector<double>& x, std::vector<double>& y) {
    chunks.each(workers, [&](int begin, int end) { multiply(h, x.data(), y.data(), begin, end); });
  };
  std::vector<double> x = algebra.start(), hx(x.size()), r(x.size()), w(x.size()), hw(x.size());
  std::vector<double> p(x.size(), 0.0), hp(x.size(), 0.0);
  algebra.scale(1.0 / std::sqrt(algebra.inner(x, x)), x);
  bool have_p = false;
  double value = 0.0;
  for (int k = 0; k < limit; ++k) {
    if (k % 20 == 0) apply(x, hx);
    value = algebra.inner(x, hx);
    if (k == kWarmUp) {
      const double shift = 1e-4 * stiffness + std::max(0.0, -1.2 * value);
      linear.incomplete.build({h.graph, h.values, h.diagonal, h.shift + shift});
    }
    r = hx;
    algebra.add(-value, x, r);
    if (std::sqrt(algebra.inner(r, r)) <= tolerance * std::max(std::fabs(value), 1e-12)) break;
    workers.run(chunks.count(), [&](std::int64_t c) { linear.incomplete.apply(r.data(), w.data(), c); });
    ++linear.iterations;
    algebra.add(-algebra.inner(x, w), x, w);
    algebra.scale(1.0 / std::sqrt(algebra.inner(w, w)), w);
    apply(w, hw);
    if (have_p) {
      const double cx = algebra.inner(x, p);
      algebra.add(-cx, x, p);
      algebra.add(-cx, hx, hp);
      const double cw = algebra.inner(w, p);
      algebra.add(-cw, w, p);
      algebra.add(-cw, hw, hp);
      const double size = std::sqrt(algebra.inner(p, p));
      have_p = size > 1e-12;
      if (have_p) {
        algebra.scale(1.0 / size, p);
        algebra.scale(1.0 / size, hp);
      }
    }
    // Smallest pair of the 3×3 projection by inverse iteration on a shifted cyclic Jacobi.
    double m[3][3] = {{value, algebra.inner(x, hw), have_p ? algebra.inner(x, hp) : 0.0},
                      {0.0, algebra.inner(w, hw), have_p ? algebra.inner(w, hp) : 0.0},
                      {0.0, 0.0, have_p ? algebra.inner(p, hp) : 1e300}};
    m[1][0] = m[0][1];
    m[2][0] = m[0][2];
    m[2][1] = m[1][2];
    double u[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    for (int sweep = 0; sweep < 30; ++sweep) {
      for (int i = 0; i < 2; ++i) {
        for (int j = i + 1; j < 3; ++j) {
          if (m[i][j] == 0.0) continue;
          const double theta = 0.5 * (m[j][j] - m[i][i]) / m[i][j];
          const double t = (theta >= 0 ? 1.0 : -1.0) / (std::fabs(theta) + std::hypot(theta, 1.0));
          const double c = 1.0 / std::hypot(t, 1.0), s = t * c;
          for (int q = 0; q < 3; ++q) {
            const double a = m[q][i], b = m[q][j];
            m[q][i] = c * a - s * b;
            m[q][j] = s * a + c * b;
          }
          for (int q = 0; q < 3; ++q) {
            const double a = m[i][q], b = m[j][q];
            m[i][q] = c * a - s * b;
            m[j][q] = s * a + c * b;
            const double d = u[q][i], e = u[q][j];
            u[q][i] = c * d - s * e;
            u[q][j] = s * d + c * e;
          }
          m[i][j] = m[j][i] = 0.0;
        }
      }
    }
    int best = 0;
    for (int q = 1; q < 3; ++q) best = m[q][q] < m[best][best] ? q : best;
    const double a = u[0][best], b = u[1][best], c = have_p ? u[2][best] : 0.0;
    // p = b·w + c·p, x = a·x + p, and the same for their images.
    chunks.each(workers, [&](int begin, int end) {
      for (int i = begin; i < end; ++i) {
        p[i] = b * w[i] + c * p[i];
        hp[i] = b * hw[i] + c * hp[i];
        x[i] = a * x[i] + p[i];
        hx[i] = a * hx[i] + hp[i];
      }
    });
    const double size = std::sqrt(algebra.inner(x, x));
    algebra.scale(1.0 / size, x);
    algebra.scale(1.0 / size, hx);
    have_p = algebra.inner(p, p) > 0.0;
  }
  return value;
}

double smallest_eigenvalue(Linear& linear, const Graph& graph, const State& state,
                           Workers& workers, double stiffness, double tolerance) {
  const Matrix h{&graph, state.values.data(), state.diagonal.data(), 0.0};
  if (!std::isfinite(state.gradient_max)) return std::numeric_limits<double>::quiet_NaN();
  if (!linear.direct()) return rayleigh_descent(linear, h, workers, stiffness, tolerance, 5000);
  double shift = 0.0;
  const double unit = std::max(stiffness, 1e-300);
  while (!linear.factorise(h.values, h.diagonal, 1.0, shift)) {
    shift = shift == 0.0 ? 1e-6 * unit : 4.0 * shift;
    if (shift > 8.0 * unit) return std::numeric_limits<double>::quiet_NaN();
  }
  return inverse_lanczos(linear, graph, workers, shift, tolerance, 120);
}

}  // namespace eqp
