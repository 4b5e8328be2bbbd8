// Dense kernels of the sparse factorisation; matrices are column-major.
#pragma once

#include "workers.hpp"

namespace eqp {

// Cholesky of the leading `columns` columns of a front with `rows` rows (lower part, leading
// dimension `rows`): L11 and L21 in place. Returns false at a pivot that is not positive.
bool factor_panel(double* front, int rows, int columns, Workers* workers);

// update (size × size, lower part) −= panel·panelᵀ, panel (size × columns) with stride ld.
void subtract_outer(double* update, int size, const double* panel, int ld, int columns,
                    Workers* workers);

// Triangular solves with the panel of one block: y (columns) against L11, t (rows − columns)
// against L21.
void solve_forward(const double* front, int rows, int columns, double* y, double* t);
void solve_backward(const double* front, int rows, int columns, double* y, const double* t);

}  // namespace eqp
