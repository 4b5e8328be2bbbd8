// Compiled once per instruction set with EQP_SINGLE: the flow in single precision.
#include "flow.hpp"
