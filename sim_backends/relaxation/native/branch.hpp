// Does a nudged state continue its free state? The algorithm of ../branch.py on lanes, which
// says what each rule is for; a lane takes the next sample as soon as its own is decided.
#pragma once

#include "system.hpp"

namespace eqp {
namespace EQP_NS {

class BranchTracer {
 public:
  BranchTracer(const GraphView& g, const BranchJob& job, double* memory) : g_(g), job_(job) {
    lay_out(g, memory, b_);
    for (int k = 0; k < 6; ++k)
      for (int i = 0; i < g.n; ++i) b_.stage[k][i] = zero();
    for (int l = 0; l < W; ++l) lane_[l].sample = -1;
    for (int l = 0; l < W; ++l) clear_lane(g_, b_, l);
  }

  void run() {
    while (refill()) iterate();
  }

 private:
  struct Lane {
    std::int64_t sample;
    double position;
    double step;
    double to;
    double allowed;
    int count;
    bool fresh;
  };

  // The base (last equilibrium on the branch) is in trial, the iterate in phase.
  vd* old_re() const { return b_.stage[0]; }
  vd* old_im() const { return b_.stage[1]; }
  vd* change_re() const { return b_.stage[2]; }
  vd* change_im() const { return b_.stage[3]; }
  vd* correction() const { return b_.stage[4]; }
  vd* signed_correction() const { return b_.stage[5]; }

  bool refill() {
    bool any = false;
    for (int l = 0; l < W; ++l) {
      while (lane_[l].sample < 0) {
        const std::int64_t sample = job_.next(job_.queue);
        if (sample < 0) break;
        load(l, sample);
      }
      any = any || lane_[l].sample >= 0;
    }
    return any;
  }

  void load(int l, std::int64_t sample) {
    const double* old = job_.previous_field + 2 * sample * g_.n;
    const double* field = job_.field + 2 * sample * g_.n;
    const double* start = job_.start + sample * g_.n;
    bool good = true;
    for (int i = 0; i < g_.n; ++i) {
      const int node = g_.order[i];
      const double re = old[2 * node], im = old[2 * node + 1];
      const double to_re = field[2 * node] - re, to_im = field[2 * node + 1] - im;
      const double phase = start[node] - whole_turns(start[node]);
      good = good && finite(to_re) && finite(to_im) && finite(phase);
      lanes(old_re())[i * W + l] = re;
      lanes(old_im())[i * W + l] = im;
      lanes(change_re())[i * W + l] = to_re;
      lanes(change_im())[i * W + l] = to_im;
      lanes(b_.phase)[i * W + l] = phase;
      lanes(b_.trial)[i * W + l] = phase;
    }
    lane_[l] = {sample, 0.0, 1.0, 1.0, job_.rules.first_correction, 0, true};
    if (!good) decide(l, false);
  }

  void decide(int l, bool complete) {
    const std::int64_t sample = lane_[l].sample;
    const double* end = job_.end + sample * g_.n;
    bool same = complete;
    for (int i = 0; same && i < g_.n; ++i) {
      double turn = lanes(b_.trial)[i * W + l] - end[g_.order[i]];
      turn -= 6.283185307179586 * ::floor(turn * 0.15915494309189535 + 0.5);
      same = ::fabs(turn) <= job_.rules.hop_distance;
    }
    job_.hop[sample] = !same;
    lane_[l].sample = -1;
    for (int i = 0; i < g_.n; ++i) {
      lanes(old_re())[i * W + l] = 1.0;
      lanes(old_im())[i * W + l] = 0.0;
      lanes(change_re())[i * W + l] = 0.0;
      lanes(change_im())[i * W + l] = 0.0;
      lanes(b_.phase)[i * W + l] = 0.0;
    }
  }

  // One Newton correction of every lane, and what follows from it.
  void iterate() {
    const int n = g_.n;
    vd to = zero();
    bool any_fresh = false;
    for (int l = 0; l < W; ++l) {
      lanes(&to)[l] = lane_[l].sample < 0 ? 0.0 : lane_[l].to;
      any_fresh = any_fresh || (lane_[l].sample >= 0 && lane_[l].fresh);
    }
    for (int i = 0; i < n; ++i) {
      b_.field_re[i] = fma(to, change_re()[i], old_re()[i]);
      b_.field_im[i] = fma(to, change_im()[i], old_im()[i]);
    }
    vd largest, squares;
    evaluate(g_, b_, b_.phase, b_.force, largest, squares);
    if (any_fresh) require_rest(to);
    solve_newton();
    vd size = zero(), uphill = zero();
    for (int i = 0; i < n; ++i) {
      size = larger(absolute(correction()[i]), size);
      uphill = fma(correction()[i], b_.force[i], uphill);
    }
    // `larger` may lose a NaN; the product keeps it.
    size = size + (uphill - uphill);
    vi near = splat_int(0);
    for (int l = 0; l < W; ++l) {
      if (lane_[l].sample < 0) continue;
      if (lanes(&size)[l] <= lane_[l].allowed && lanes(&uphill)[l] >= 0.0) near[l] = -1;
    }
    for (int i = 0; i < n; ++i)
      b_.phase[i] = b_.phase[i] + select(near, correction()[i], zero());
    for (int l = 0; l < W; ++l) {
      Lane& s = lane_[l];
      if (s.sample < 0) continue;
      const bool good = near[l] != 0;
      const bool converged = good && lanes(&size)[l] < job_.rules.converged;
      if (good && !converged && ++s.count < job_.rules.max_corrections) {
        s.allowed = job_.rules.second_correction / static_cast<double>(1 << (s.count - 1));
        continue;
      }
      advance(l, converged);
    }
  }

  // A start that is no equilibrium of the old field is decided at once. The old force differs
  // from the one just evaluated by what the change of field exerts.
  void require_rest(vd to) {
    vd top = zero();
    for (int i = 0; i < g_.n; ++i) {
      const vd pull = fnma(b_.sine[i], change_re()[i], b_.cosine[i] * change_im()[i]);
      top = larger(absolute(fnma(to, pull, b_.force[i])), top);
    }
    for (int l = 0; l < W; ++l) {
      Lane& s = lane_[l];
      if (s.sample < 0 || !s.fresh) continue;
      s.fresh = false;
      if (!(lanes(&top)[l] <= job_.rules.at_rest)) decide(l, false);
    }
  }

  // correction <- H^-1 force, by signed pivots and one refinement where H is indefinite.
  void solve_newton() {
    const int n = g_.n;
    const auto no_shift = [](int) { return zero(); };
    const vi positive = factor_hessian<false>(g_, b_, no_shift);
    for (int i = 0; i < n; ++i) correction()[i] = b_.force[i];
    solve(g_, b_.factor, correction());
    bool indefinite = false;
    for (int l = 0; l < W; ++l)
      indefinite = indefinite || (lane_[l].sample >= 0 && positive[l] == 0);
    if (!indefinite) return;
    factor_hessian<true>(g_, b_, no_shift);
    vd* x = signed_correction();
    vd *wx = b_.spread, *wy = b_.margin, *rest = b_.work;
    for (int i = 0; i < n; ++i) rest[i] = b_.force[i];
    for (int round = 0; round < 2; ++round) {
      if (round > 0) {
        multiply_hessian(g_, b_, x, wx, wy, rest);
        for (int i = 0; i < n; ++i) rest[i] = b_.force[i] - rest[i];
      }
      forward(g_, b_.factor, rest);
      for (int i = 0; i < n; ++i) rest[i] = rest[i] * b_.factor.sign[i];
      backward(g_, b_.factor, rest);
      for (int i = 0; i < n; ++i) x[i] = round > 0 ? x[i] + rest[i] : rest[i];
    }
    for (int i = 0; i < n; ++i) correction()[i] = select(positive, correction()[i], x[i]);
  }

  // A step of the field ended: go on from where it led, or halve it.
  void advance(int l, bool converged) {
    Lane& s = lane_[l];
    vd *from = converged ? b_.phase : b_.trial, *into = converged ? b_.trial : b_.phase;
    for (int i = 0; i < g_.n; ++i) lanes(into)[i * W + l] = lanes(from)[i * W + l];
    if (converged) s.position = s.to;
    s.step *= converged ? 2.0 : 0.5;
    s.to = s.position + s.step < 1.0 ? s.position + s.step : 1.0;
    s.allowed = job_.rules.first_correction;
    s.count = 0;
    if (s.position >= 1.0) {
      decide(l, true);
    } else if (s.step < job_.rules.smallest_step) {
      decide(l, false);
    }
  }

  const GraphView& g_;
  const BranchJob& job_;
  Block b_;
  Lane lane_[W];
};

}  // namespace EQP_NS
}  // namespace eqp
