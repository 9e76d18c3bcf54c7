// The null device as the one source that is compiled: reading torch's headers takes longer than all the rest.
#include "aten.cpp"
#include "device.cpp"
#include "torch_npu.cpp"
