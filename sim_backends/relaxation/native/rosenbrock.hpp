// One Rosenbrock step of every lane (Hairer & Wanner, Solving ODEs II; Sandu et al. 1997).
//
// Transformed form for the autonomous flow dphi/dt = f: stage s solves
// (I/(gamma h) + H) K_s = f(phi + sum a_sj K_j) + (1/h) sum c_sj K_j. Both methods are stiffly
// accurate: the new state is the last stage's position plus the last K, which is also the
// error estimate.
#pragma once

#include "system.hpp"

namespace eqp {
namespace EQP_NS {

struct Method {
  int stages;
  double gamma;
  double order;
  double a[6][5];
  double c[6][5];
};

constexpr Method kRodas3 = {
    4,
    0.5,
    3.0,
    {{0}, {0}, {2.0}, {2.0, 0.0, 1.0}},
    {{0}, {4.0}, {1.0, -1.0}, {1.0, -1.0, -8.0 / 3.0}},
};

constexpr Method kRodas4 = {
    6,
    0.25,
    4.0,
    {{0},
     {1.544},
     {0.9466785280815826, 0.2557011698983284},
     {3.314825187068521, 2.896124015972201, 0.9986419139977817},
     {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950},
     {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0}},
    {{0},
     {-5.6688},
     {-2.430093356833875, -0.2063599157091915},
     {-0.1073529058151375, -9.594562251023355, -20.47028614809616},
     {7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160},
     {8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
      -6.058818238834054}},
};

template <int S>
EQP_INLINE void combine(const vd* start, const Block& b, const double* weight, vd scale, int n,
                        vd* out) {
  vd w[S];
  EQP_LOOP(S) for (int j = 0; j < S; ++j) w[j] = splat(weight[j]);
  for (int i = 0; i < n; ++i) {
    vd sum = w[0] * b.stage[0][i];
    EQP_LOOP(S) for (int j = 1; j < S; ++j) sum = fma(w[j], b.stage[j][i], sum);
    out[i] = fma(scale, sum, start[i]);
  }
}

// out = start + scale * sum_j weight_j K_j over the first `count` stages.
EQP_INLINE void combination(int count, const vd* start, const Block& b, const double* weight,
                            vd scale, int n, vd* out) {
  switch (count) {
    case 1: combine<1>(start, b, weight, scale, n, out); break;
    case 2: combine<2>(start, b, weight, scale, n, out); break;
    case 3: combine<3>(start, b, weight, scale, n, out); break;
    case 4: combine<4>(start, b, weight, scale, n, out); break;
    default: combine<5>(start, b, weight, scale, n, out); break;
  }
}

// From b.phase, with b.force and the Hessian's parts evaluated there, computes the new state
// b.trial and the largest |error| of each lane. Returns the lanes whose matrix was positive
// definite; where it was not, the rest is meaningless.
static vi rosenbrock_step(const GraphView& g, const Block& b, const Method& m, vd h, vd& error) {
  const vd shift = splat(1.0) / (splat(m.gamma) * h);
  const vd rate = splat(1.0) / h;
  const vi ok = factor_hessian<false>(g, b, [&](int) { return shift; });
  const int n = g.n;
  const int last = m.stages - 1;
  for (int s = 0; s <= last; ++s) {
    vd* k = b.stage[s];
    bool moved = false;
    for (int j = 0; j < s; ++j) moved = moved || m.a[s][j] != 0.0;
    if (!moved) {
      for (int i = 0; i < n; ++i) k[i] = b.force[i];
    } else {
      if (s == last && m.stages == 6) {
        // The last stage starts where the one before it would end.
        for (int i = 0; i < n; ++i) b.trial[i] = b.trial[i] + b.stage[s - 1][i];
      } else {
        combination(s, b.phase, b, m.a[s], splat(1.0), n, b.trial);
      }
      evaluate_force(g, b, b.trial, k);
    }
    if (s > 0) combination(s, k, b, m.c[s], rate, n, k);
    solve(g, b.factor, k);
  }
  vd top = zero();
  vd sum = zero();
  for (int i = 0; i < n; ++i) {
    const vd k = b.stage[last][i];
    b.trial[i] = b.trial[i] + k;
    top = larger(absolute(k), top);
    sum = sum + k;
  }
  error = top + (sum - sum);  // NaN where any component is not finite
  return ok;
}

}  // namespace EQP_NS
}  // namespace eqp
