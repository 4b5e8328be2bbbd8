// One worker thread: samples travel through three kinds of lane block (flow, certificate,
// Newton). A sample that leaves the flow for a test waits in a list until a block is worth
// running, and its lane is refilled, so that lanes seldom idle. What happens to a sample
// depends on its own numbers only, never on its company.
//
// Where the tolerance is far above single precision, so is the error of a step, and the flow
// runs in single precision, twice as many samples a register (`Job::single`). Certificates
// and Newton never do. A sample whose force gets lost in single precision's rounding before a
// certificate holds goes on in double precision, after all others.
#pragma once

#include "certificate.hpp"
#include "flow.hpp"
#include "newton.hpp"

namespace eqp {
namespace EQP_NS {

class Worker {
 public:
  Worker(const GraphView& g, const Job& job, double* memory)
      : g_(g), job_(job), memory_(memory + side_doubles(g)) {
    lay_out(g, memory, side_);
    for (int l = 0; l < W; ++l) clear_lane(g_, side_, l);
    use(job.single ? job.single : &flow_kernels);
  }

  static std::int64_t workspace(const GraphView& g, const FlowKernels* single) {
    const std::int64_t own = flow_kernels.workspace(g);
    const std::int64_t other = single ? single->workspace(g) : 0;
    return side_doubles(g) + (own > other ? own : other);
  }

  void run() {
    while (true) {
      refill();
      if (prove_.count >= W || (prove_.count > 0 && prove_.count >= certify_.count + active_)) {
        run_certificate();
      } else if (certify_.count >= W || (certify_.count > 0 && certify_.count >= active_)) {
        run_screen();
      } else if (polish_.count >= W || (polish_.count > 0 && active_ == 0)) {
        run_newton();
      } else if (active_ > 0) {
        step();
      } else if (late_ >= 0 && flow_ != &flow_kernels) {
        use(&flow_kernels);
      } else {
        return;
      }
    }
  }

 private:
  struct List {
    std::int64_t item[4 * kMostLanes];
    int count = 0;
    void push(std::int64_t x) { item[count++] = x; }
    std::int64_t pop() { return item[--count]; }
  };

  static std::int64_t side_doubles(const GraphView& g) {
    Block b;
    return (lay_out(g, nullptr, b) + 7) / 8 * 8;
  }

  void use(const FlowKernels* flow) {
    flow_ = flow;
    flow_->open(g_, memory_);
    for (int l = 0; l < kMostLanes; ++l) lane_[l] = -1;
  }

  double* row(std::int64_t sample) const { return job_.phases + sample * g_.n; }
  const double* field(std::int64_t sample) const { return job_.field + 2 * sample * g_.n; }
  SampleState& state(std::int64_t sample) const { return job_.state[sample]; }

  // Fills empty lanes and evaluates them; samples that need no flow pass on at once.
  void refill() {
    while (true) {
      if (certify_.count >= W || prove_.count >= W || polish_.count >= W) return;
      if (job_.options.follow) {
        // Nothing flows: samples go straight to the certificate.
        const std::int64_t sample = next_sample();
        if (sample < 0) return;
        certify_.push(sample);
        continue;
      }
      bool fresh[kMostLanes] = {};
      int loaded = 0;
      for (int l = 0; l < flow_->width; ++l) {
        if (lane_[l] >= 0) continue;
        const std::int64_t sample = ready_.count > 0 ? ready_.pop() : next_to_flow();
        if (sample < 0) break;
        flow_->load(g_, memory_, l, field(sample), row(sample));
        lane_[l] = sample;
        moved_[l] = false;
        fresh[l] = true;
        ++loaded;
      }
      if (loaded == 0) return;
      active_ += loaded;
      flow_->evaluate(g_, memory_, largest_);
      for (int l = 0; l < flow_->width; ++l)
        if (lane_[l] >= 0 && fresh[l]) arrive(l);
    }
  }

  // What single precision can bear, where its rounding begins to show in the force, and a limit
  // on steps in case that comes sooner.
  static bool bearable(double rho) { return rho > 1e-6 && rho < 1e6; }
  bool needs_double(const SampleState& s, double largest) const {
    return flow_ != &flow_kernels &&
           (!bearable(s.rho) || largest < 1e-6 * s.rho || s.steps + s.rejected >= 1000);
  }

  std::int64_t next_to_flow() {
    if (late_ >= 0 && flow_ == &flow_kernels) {
      const std::int64_t sample = late_;
      late_ = state(sample).next_late;
      return sample;
    }
    return next_sample();
  }

  // Takes the next sample of the queue that has finite numbers.
  std::int64_t next_sample() {
    while (!exhausted_) {
      const std::int64_t sample = job_.next(job_.queue);
      if (sample < 0) {
        exhausted_ = true;
        break;
      }
      if (prepare(sample)) return sample;
    }
    return -1;
  }

  bool prepare(std::int64_t sample) {
    SampleState& s = state(sample);
    s = SampleState{};
    s.try_below = job_.options.certificate_gradient;
    s.still_below = job_.options.flow_residual;
    bool good = true;
    const double* b = field(sample);
    const double* start = job_.start + sample * g_.n;
    double* out = row(sample);
    for (int i = 0; i < g_.n; ++i) {
      const int node = g_.order[i];
      good = good && finite(b[2 * node]) && finite(b[2 * node + 1]) && finite(start[node]);
      const double strength = ::sqrt(b[2 * node] * b[2 * node] + b[2 * node + 1] * b[2 * node + 1]);
      const double rho = g_.stiffness[i] + strength;
      good = good && finite(rho);
      if (rho > s.rho) s.rho = rho;
      out[node] = start[node] - whole_turns(start[node]);
    }
    if (!good) {
      for (int i = 0; i < g_.n; ++i) out[i] = start[i];
      job_.status[sample] = kNotFinite;
      job_.residual[sample] = nan_value();
    }
    return good;
  }

  static double nan_value() {
    const double zero_value = 0.0;
    std::uint64_t pattern = 0x7ff8000000000000ULL;
    double x = zero_value;
    memcpy(&x, &pattern, sizeof x);
    return x;
  }

  void arrive(int l) {
    SampleState& s = state(lane_[l]);
    const double top = largest_[l];
    if (s.h == 0.0) {
      if (job_.options.tried) s.try_below = job_.options.certificate_backoff * top;
      // Half of what the error estimate allows at the start, and no longer than the
      // fastest mode.
      const double by_rate = s.rho > 0.0 ? 1.0 / s.rho : 1.0;
      const double by_force = 0.5 * ::cbrt(job_.options.tolerance) / top;
      s.h = by_force < by_rate ? by_force : by_rate;
    }
    if (finite(top)) {
      sort_out(l);
    } else {
      finish_not_finite(l);
    }
  }

  void leave(int l, List& list) {
    list.push(lane_[l]);
    vacate(l);
  }

  void vacate(int l) {
    // What has not moved is not rounded either.
    if (moved_[l]) flow_->store(g_, memory_, l, row(lane_[l]));
    lane_[l] = -1;
    --active_;
  }

  void postpone(int l) {
    state(lane_[l]).next_late = late_;
    late_ = lane_[l];
    vacate(l);
  }

  // Decides whether a lane goes on flowing.
  void sort_out(int l) {
    const Options& o = job_.options;
    SampleState& s = state(lane_[l]);
    const double top = largest_[l];
    if (o.certificate && top < s.try_below) {
      s.try_below = o.certificate_backoff * top;
      leave(l, certify_);
    } else if (needs_double(s, top)) {
      postpone(l);
    } else if (top < s.still_below) {
      leave(l, polish_);
    } else if (s.steps + s.rejected >= o.max_steps || s.t >= o.t_max) {
      s.check_only = 1;
      leave(l, polish_);
    } else if (top >= o.flow_residual) {
      s.still_below = o.flow_residual;
    }
  }

  void step() {
    const Options& o = job_.options;
    const double order = o.rodas4 ? kRodas4.order : kRodas3.order;
    const int width = flow_->width;
    double h[kMostLanes], error[kMostLanes];
    for (int l = 0; l < width; ++l) {
      h[l] = 1.0;
      if (lane_[l] < 0) continue;
      SampleState& s = state(lane_[l]);
      if (s.h > o.t_max - s.t) s.h = o.t_max - s.t;
      h[l] = s.h;
    }
    flow_->step(g_, memory_, o.rodas4 != 0, h, error);
    bool accepted[kMostLanes] = {};
    for (int l = 0; l < width; ++l) {
      if (lane_[l] < 0) continue;
      SampleState& s = state(lane_[l]);
      ++s.factorisations;
      const double relative = error[l] / o.tolerance;
      if (!finite(relative)) {
        s.h *= 0.3;
        s.refused = 1;
        ++s.rejected;
        continue;
      }
      double factor = relative > 0.0 ? 0.9 * ::pow(relative, -1.0 / order) : 8.0;
      factor = factor < 0.2 ? 0.2 : (factor > 8.0 ? 8.0 : factor);
      if (relative <= 1.0) {
        // What was too long a moment ago mostly still is.
        if (s.refused && factor > 1.0) factor = 1.0;
        s.refused = 0;
        s.t += s.h;
        ++s.steps;
        accepted[l] = moved_[l] = true;
      } else {
        if (factor > 0.9) factor = 0.9;
        s.refused = 1;
        ++s.rejected;
      }
      s.h *= factor;
    }
    flow_->accept(g_, memory_, accepted, largest_);
    for (int l = 0; l < width; ++l) {
      if (lane_[l] < 0) continue;
      const SampleState& s = state(lane_[l]);
      if (!finite(largest_[l])) {
        finish_not_finite(l);
      } else if (accepted[l] || s.steps + s.rejected >= o.max_steps) {
        sort_out(l);
      }
    }
  }

  void finish_not_finite(int l) {
    job_.status[lane_[l]] = kNotFinite;
    job_.residual[lane_[l]] = nan_value();
    vacate(l);
    flow_->clear(g_, memory_, l);
  }

  int load_side(List& list, std::int64_t* sample) {
    int count = 0;
    for (int l = 0; l < W; ++l) {
      sample[l] = list.count > 0 ? list.pop() : -1;
      if (sample[l] < 0) {
        clear_lane(g_, side_, l);
        continue;
      }
      ++count;
      load_field(g_, side_, l, field(sample[l]));
      load_row(g_, side_.phase, l, row(sample[l]));
    }
    return count;
  }

  // Screens a block of candidates; those left are proven together, later.
  void run_screen() {
    std::int64_t sample[W];
    const vi wanted = load_trial(certify_, sample);
    vd largest, squares;
    evaluate(g_, side_, side_.phase, side_.force, largest, squares);
    vi positive;
    std::int64_t spent = 0;
    const vi pass = certificate(g_, side_, job_.options.theta, Trial::kScreen, wanted, positive,
                                spent);
    for (int l = 0; l < W; ++l) {
      if (sample[l] < 0) continue;
      state(sample[l]).factorisations += spent;
      if (pass[l]) {
        prove_.push(sample[l]);
      } else if (job_.options.follow) {
        finish(sample[l], kNeedsFlow, lanes(&largest)[l], false);
      } else {
        ready_.push(sample[l]);
      }
    }
  }

  vi load_trial(List& list, std::int64_t* sample) {
    load_side(list, sample);
    vi wanted = splat_int(0);
    for (int l = 0; l < W; ++l)
      if (sample[l] >= 0) wanted[l] = -1;
    return wanted;
  }

  void run_certificate() {
    std::int64_t sample[W];
    const vi wanted = load_trial(prove_, sample);
    vd largest, squares;
    evaluate(g_, side_, side_.phase, side_.force, largest, squares);
    vi positive;
    std::int64_t spent = 0;
    const vi pass = certificate(g_, side_, job_.options.theta, Trial::kWhole, wanted, positive,
                                spent);
    for (int l = 0; l < W; ++l) {
      if (sample[l] < 0) continue;
      SampleState& s = state(sample[l]);
      s.factorisations += 4;
      if (pass[l]) s.certified = 1;
      if (!pass[l] && !job_.options.follow) ready_.push(sample[l]);
    }
    if (job_.options.follow) {
      follow_up(sample, pass, largest);
      return;
    }
    // The Newton point, the middle of the certified ball.
    for (int i = 0; i < g_.n; ++i) side_.phase[i] = side_.phase[i] + side_.work[i];
    for (int l = 0; l < W; ++l) {
      if (sample[l] < 0 || !pass[l]) continue;
      store_row(g_, side_.phase, l, row(sample[l]));
      polish_.push(sample[l]);
    }
  }

  // After a certificate at the start: Newton steps with the same matrix while they converge
  // fast; the rest goes to full Newton.
  void follow_up(std::int64_t* sample, vi pass, vd largest) {
    vi going = splat_int(0);
    vd before = largest;
    for (int l = 0; l < W; ++l) {
      if (sample[l] < 0) continue;
      if (pass[l]) {
        going[l] = -1;
      } else {
        finish(sample[l], kNeedsFlow, lanes(&largest)[l], false);
      }
    }
    for (int iteration = 0; iteration < 8; ++iteration) {
      bool any = false;
      for (int l = 0; l < W; ++l) any = any || going[l] != 0;
      if (!any) return;
      for (int i = 0; i < g_.n; ++i)
        side_.trial[i] = side_.phase[i] + select(going, side_.work[i], zero());
      vd after, squares;
      evaluate(g_, side_, side_.trial, side_.work, after, squares);
      for (int l = 0; l < W; ++l) {
        if (!going[l]) continue;
        const SampleState& s = state(sample[l]);
        const double now = lanes(&after)[l];
        const double was = lanes(&before)[l];
        if (iteration > 0 && !(now < was)) {
          // Rounding level, or no contraction: the former state stands.
          going[l] = 0;
          store_row(g_, side_.phase, l, row(sample[l]));
          if (was <= job_.options.residual) {
            finish(sample[l], kEquilibrium, was, true);
          } else {
            polish_.push(sample[l]);
          }
        } else if (now <= rounding(s)) {
          going[l] = 0;
          store_row(g_, side_.trial, l, row(sample[l]));
          finish(sample[l], kEquilibrium, now, true);
        } else if (now > 0.2 * was && now > job_.options.residual) {
          going[l] = 0;
          store_row(g_, side_.trial, l, row(sample[l]));
          polish_.push(sample[l]);
        }
        lanes(&before)[l] = now;
      }
      for (int i = 0; i < g_.n; ++i)
        side_.phase[i] = select(going, side_.trial[i], side_.phase[i]);
      solve(g_, side_.factor, side_.work);
    }
    for (int l = 0; l < W; ++l) {
      if (!going[l]) continue;
      store_row(g_, side_.phase, l, row(sample[l]));
      polish_.push(sample[l]);
    }
  }

  double rounding(const SampleState& s) const { return 2.0 * 2.220446049250313e-16 * s.rho; }

  void run_newton() {
    std::int64_t sample[W];
    load_side(polish_, sample);
    NewtonLane lane[W];
    for (int l = 0; l < W; ++l) {
      lane[l] = NewtonLane{};
      if (sample[l] < 0) continue;
      const SampleState& s = state(sample[l]);
      lane[l].phase = s.check_only ? NewtonPhase::kFinal : NewtonPhase::kFirst;
      lane[l].certified = s.certified != 0;
      lane[l].rounding = rounding(s);
      lane[l].residual = job_.options.residual;
      lane[l].max_steps = job_.options.max_newton;
    }
    newton(g_, side_, lane);
    for (int l = 0; l < W; ++l) {
      if (sample[l] < 0) continue;
      SampleState& s = state(sample[l]);
      s.factorisations += lane[l].factorisations;
      if (!lane[l].positive && !s.check_only && !s.certified && lane[l].steps == 0 &&
          lane[l].largest > 8.0 * lane[l].rounding) {
        // Slow near a saddle, but moving: the flow goes on.
        s.still_below = 0.1 * lane[l].largest;
        ready_.push(sample[l]);
        continue;
      }
      store_row(g_, side_.phase, l, row(sample[l]));
      Status status = kEquilibrium;
      if (s.check_only) {
        status = kStepLimit;
      } else if (!lane[l].positive) {
        status = kUnstable;
      } else if (!(lane[l].largest <= job_.options.residual)) {
        status = kStepLimit;
      }
      finish(sample[l], status, lane[l].largest, lane[l].positive);
    }
  }

  void finish(std::int64_t sample, Status status, double residual, bool positive) {
    const SampleState& s = state(sample);
    job_.status[sample] = status;
    job_.residual[sample] = residual;
    job_.positive_definite[sample] = positive;
    job_.certified[sample] = s.certified != 0;
    job_.steps[sample] = s.steps;
    job_.rejected[sample] = s.rejected;
    job_.factorisations[sample] = s.factorisations;
    const double* start = job_.start + sample * g_.n;
    double* out = row(sample);
    for (int i = 0; i < g_.n; ++i) out[i] += whole_turns(start[i]);
  }

  const GraphView& g_;
  const Job& job_;
  double* memory_;  // of the flow
  const FlowKernels* flow_ = nullptr;
  Block side_;
  std::int64_t lane_[kMostLanes];
  bool moved_[kMostLanes];  // since it was loaded
  std::int64_t late_ = -1;  // first of the samples that go on in double precision
  int active_ = 0;
  bool exhausted_ = false;
  List ready_, certify_, prove_, polish_;
  double largest_[kMostLanes];
};

}  // namespace EQP_NS
}  // namespace eqp
