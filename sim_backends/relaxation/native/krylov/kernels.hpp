// Vector loops over a row range; compiled for several instruction sets, chosen at run time.
#pragma once

#include <cstdint>

// Function multiversioning needs ifunc support, which only ELF on Linux has.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __GNUC__ >= 12 && \
    !defined(__clang__)
#define EQP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EQP_CLONES
#endif

namespace eqp {

// cosine and sine of angle[begin..end)
void phasors(const double* angle, double* cosine, double* sine, int begin, int end);

// out = base + Σ_k weight[k]·terms[k] over the range; terms with weight 0 are skipped.
void combine(double* out, const double* base, const double* const* terms, const double* weight,
             int count, int begin, int end);

double dot(const double* a, const double* b, int begin, int end);
// out[k] = (left[k], right[k]) over the range, `count` pairs in one sweep of short blocks.
void dots(const double* const* left, const double* const* right, int count, int begin, int end,
          double* out);
double largest(const double* a, int begin, int end);  // max |a|, NaN if one is met
void axpy(double alpha, const double* x, double* y, int begin, int end);  // y += αx
void xpby(const double* x, double beta, double* y, int begin, int end);   // y = x + βy

}  // namespace eqp
