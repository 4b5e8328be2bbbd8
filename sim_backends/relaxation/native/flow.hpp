// The flow of a block of lanes, in double or single precision: see FlowKernels in view.hpp.
#pragma once

#include "rosenbrock.hpp"

namespace eqp {
namespace EQP_NS {

static std::int64_t flow_workspace(const GraphView& g) {
  Block b;
  const std::int64_t bytes = lay_out_flow(g, nullptr, b) * std::int64_t(sizeof(vd));
  return (bytes / 8 + 7) / 8 * 8;
}

static Block flow_block(const GraphView& g, double* memory) {
  Block b;
  lay_out_flow(g, memory, b);
  return b;
}

// Single precision keeps phases near zero, where they are finest; the turns taken off at the
// start are put back in the end.
EQP_INLINE double flow_turns(double phase) {
#if defined(EQP_SINGLE)
  if (!(phase > 4.0 || phase < -4.0)) return 0.0;
  return 6.283185307179586 * ::floor(phase * 0.15915494309189535 + 0.5);
#else
  (void)phase;
  return 0.0;
#endif
}

static void flow_load(const GraphView& g, double* memory, int lane, const double* field,
                      const double* phases) {
  const Block b = flow_block(g, memory);
  load_field(g, b, lane, field);
  real* out = lanes(b.phase) + lane;
  for (int i = 0; i < g.n; ++i) {
    const double x = phases[g.order[i]];
    out[i * W] = static_cast<real>(x - flow_turns(x));
  }
}

static void flow_store(const GraphView& g, double* memory, int lane, double* phases) {
  const Block b = flow_block(g, memory);
  const real* in = lanes(b.phase) + lane;
  for (int i = 0; i < g.n; ++i) {
    double& x = phases[g.order[i]];
    x = static_cast<double>(in[i * W]) + flow_turns(x);
  }
}

static void flow_clear(const GraphView& g, double* memory, int lane) {
  clear_lane(g, flow_block(g, memory), lane);
}

static void flow_open(const GraphView& g, double* memory) {
  const Block b = flow_block(g, memory);
  for (int l = 0; l < W; ++l) clear_lane(g, b, l);
}

static void flow_evaluate(const GraphView& g, double* memory, double* largest) {
  const Block b = flow_block(g, memory);
  vd top, squares;
  evaluate(g, b, b.phase, b.force, top, squares);
  for (int l = 0; l < W; ++l) largest[l] = static_cast<double>(lanes(&top)[l]);
}

static void flow_step(const GraphView& g, double* memory, bool rodas4, const double* h,
                      double* error) {
  const Block b = flow_block(g, memory);
  vd length, estimate;
  for (int l = 0; l < W; ++l) lanes(&length)[l] = static_cast<real>(h[l]);
  const vi ok = rosenbrock_step(g, b, rodas4 ? kRodas4 : kRodas3, length, estimate);
  const vd invalid = zero() / zero();
  estimate = select(ok, estimate, invalid);
  for (int l = 0; l < W; ++l) error[l] = static_cast<double>(lanes(&estimate)[l]);
}

static void flow_accept(const GraphView& g, double* memory, const bool* accepted,
                        double* largest) {
  const Block b = flow_block(g, memory);
  vi taken = splat_int(0);
  for (int l = 0; l < W; ++l)
    if (accepted[l]) taken[l] = -1;
  for (int i = 0; i < g.n; ++i) b.phase[i] = select(taken, b.trial[i], b.phase[i]);
  flow_evaluate(g, memory, largest);
}

extern const FlowKernels flow_kernels;
const FlowKernels flow_kernels = {W,          flow_workspace, flow_open, flow_load,  flow_store,
                                  flow_clear, flow_evaluate,  flow_step, flow_accept};

}  // namespace EQP_NS
}  // namespace eqp
