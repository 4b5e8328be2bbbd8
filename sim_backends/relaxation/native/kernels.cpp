// Compiled once per instruction set and width (EQP_NS, EQP_WIDTH, EQP_ISA_NAME); exports one
// table of functions.
#include "branch.hpp"
#include "tasks.hpp"
#include "view.hpp"
#include "worker.hpp"

namespace eqp {
namespace EQP_NS {

static std::int64_t workspace(const GraphView& g) {
  Block b;
  return lay_out(g, nullptr, b);
}

static void relax(const GraphView& g, const Job& job, double* memory) {
  Worker worker(g, job, memory);
  worker.run();
}

static void branch(const GraphView& g, const BranchJob& job, double* memory) {
  BranchTracer tracer(g, job, memory);
  tracer.run();
}

static void sincos_array(const double* x, double* sine, double* cosine, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += W) {
    vd in = zero(), s, c;
    for (int l = 0; l < W && i + l < count; ++l) in[l] = x[i + l];
    sine_cosine(in, s, c);
    for (int l = 0; l < W && i + l < count; ++l) {
      sine[i + l] = s[l];
      cosine[i + l] = c[l];
    }
  }
}

extern const Kernels kernels;
const Kernels kernels = {EQP_ISA_NAME,
                         W,
                         workspace,
                         Worker::workspace,
                         relax,
                         task_solve,
                         task_selected_inverse,
                         task_smallest_eigenvalue,
                         task_integrate,
                         task_segment,
                         branch,
                         sincos_array};

}  // namespace EQP_NS
}  // namespace eqp
