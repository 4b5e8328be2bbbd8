// Smallest eigenvalue of H.
#pragma once

#include "linear.hpp"
#include "xy.hpp"

namespace eqp {

// Lanczos with the inverse, through the Cholesky factor that `linear` holds of H + shift·I.
// Returns the Ritz value, an upper bound of the smallest eigenvalue of H; stops when its
// relative error bound |β s| / θ is below `tolerance`.
// Source: Golub & Van Loan, Matrix Computations (4th ed.), ch. 10.
double inverse_lanczos(Linear& linear, const Graph& graph, Workers& workers, double shift,
                       double tolerance, int limit);

// Locally optimal preconditioned descent on the Rayleigh quotient, for graphs whose factor does
// not fit into memory. Returns the Ritz value (an upper bound); stops at a residual of
// `tolerance` times the distance to it, or after `limit` steps.
// Source: Knyazev, SIAM J. Sci. Comput. 23, 517 (2001).
double rayleigh_descent(Linear& linear, const Matrix& h, Workers& workers, double stiffness,
                        double tolerance, int limit);

// Smallest eigenvalue of H at the state, by whichever way is open; any inertia.
double smallest_eigenvalue(Linear& linear, const Graph& graph, const State& state,
                           Workers& workers, double stiffness, double tolerance);

}  // namespace eqp
