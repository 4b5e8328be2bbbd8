// Newton's method on a block of lanes, down to rounding level.
#pragma once

#include "system.hpp"

namespace eqp {
namespace EQP_NS {

enum class NewtonPhase : std::int32_t { kIdle, kFirst, kTrial, kFinal, kDone };

struct NewtonLane {
  NewtonPhase phase;
  bool certified;  // positive definiteness at the end is proven
  bool positive;
  double rounding;  // |g| that cannot be improved
  double residual;  // |g| that counts as equilibrium
  double base_squares;
  double base_largest;
  double largest;
  double scale;
  int steps;
  int max_steps;
  int halvings;
  std::int64_t factorisations;
};

// Decides what a lane does after an evaluation; returns whether it needs a factorisation.
// `restore`: go back to the base; `shorten`: half the last step.
static bool newton_decide(NewtonLane& s, double largest, double squares, bool& accept,
                          bool& restore, bool& shorten) {
  accept = restore = shorten = false;
  if (s.phase == NewtonPhase::kFinal) {
    s.largest = largest;
    return true;
  }
  bool finished = false;
  if (s.phase == NewtonPhase::kFirst) {
    accept = true;
    s.phase = NewtonPhase::kTrial;
  } else if (squares < s.base_squares) {
    accept = true;
    // Below the asked residual and no longer falling fast: rounding level.
    finished = squares > 0.25 * s.base_squares && largest <= s.residual;
  } else if (s.base_largest <= s.residual || s.halvings >= 20) {
    restore = true;
    finished = true;
  } else {
    shorten = true;
    ++s.halvings;
    return false;
  }
  if (accept) {
    s.base_squares = squares;
    s.base_largest = largest;
    s.halvings = 0;
    finished = finished || largest <= s.rounding || s.steps >= s.max_steps;
  }
  if (!finished) return true;
  s.largest = s.base_largest;
  // An uncertified end is tested by one more factorisation, at the state that stands.
  s.phase = s.certified ? NewtonPhase::kDone : NewtonPhase::kFinal;
  if (s.certified) s.positive = true;
  return s.phase == NewtonPhase::kFinal && !restore;
}

// From b.phase; results are left there. b.trial holds the base, b.work the step.
static void newton(const GraphView& g, const Block& b, NewtonLane (&lane)[W]) {
  const int n = g.n;
  for (int i = 0; i < n; ++i) b.trial[i] = b.phase[i];
  for (int i = 0; i < n; ++i) b.work[i] = zero();
  while (true) {
    bool busy = false;
    for (int l = 0; l < W; ++l)
      busy = busy ||
             (lane[l].phase != NewtonPhase::kIdle && lane[l].phase != NewtonPhase::kDone);
    if (!busy) return;
    vd largest, squares;
    evaluate(g, b, b.phase, b.force, largest, squares);
    vi accept = splat_int(0), restore = splat_int(0), needs = splat_int(0);
    vd shrink = splat(1.0);
    bool any = false;
    for (int l = 0; l < W; ++l) {
      NewtonLane& s = lane[l];
      if (s.phase == NewtonPhase::kIdle || s.phase == NewtonPhase::kDone) continue;
      bool yes, back, shorten;
      const bool need = newton_decide(s, lanes(&largest)[l], lanes(&squares)[l], yes, back, shorten);
      if (yes) accept[l] = -1;
      if (back) restore[l] = -1;
      if (shorten) shrink[l] = 0.5;
      if (need) {
        needs[l] = -1;
        any = true;
      }
    }
    for (int i = 0; i < n; ++i) {
      b.trial[i] = select(accept, b.phase[i], b.trial[i]);
      b.phase[i] = select(restore, b.trial[i], b.phase[i]);
    }
    vi stepped = splat_int(0);
    vd scale = shrink;
    if (any) {
      const vi ok = factor_hessian<false>(g, b, [](int) { return zero(); });
      for (int i = 0; i < n; ++i) b.stage[0][i] = b.force[i];
      solve(g, b.factor, b.stage[0]);
      vd longest = zero();
      for (int i = 0; i < n; ++i) longest = larger(absolute(b.stage[0][i]), longest);
      for (int l = 0; l < W; ++l) {
        NewtonLane& s = lane[l];
        if (!needs[l]) continue;
        ++s.factorisations;
        s.positive = ok[l] != 0;
        s.largest = lanes(&largest)[l];
        if (s.phase == NewtonPhase::kFinal || !s.positive) {
          s.phase = NewtonPhase::kDone;
          continue;
        }
        ++s.steps;
        stepped[l] = -1;
        // A step beyond half a radian leaves the region that the quadratic model describes.
        const double length = lanes(&longest)[l];
        lanes(&scale)[l] = length > 0.5 ? 0.5 / length : 1.0;
      }
    }
    for (int i = 0; i < n; ++i) {
      b.work[i] = scale * select(stepped, b.stage[0][i], b.work[i]);
    }
    for (int l = 0; l < W; ++l) {
      if (lane[l].phase != NewtonPhase::kTrial) continue;
      for (int i = 0; i < n; ++i)
        lanes(b.phase)[i * W + l] = lanes(b.trial)[i * W + l] + lanes(b.work)[i * W + l];
    }
  }
}

}  // namespace EQP_NS
}  // namespace eqp
