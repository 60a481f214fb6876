package domain

import "nidus/kernel/xenabi"

// Param returns an HVM parameter (hvm/params.h).
func (d *Domain) Param(i uint32) (uint64, bool) {
	if i >= uint32(len(d.params)) {
		return 0, false
	}
	return d.params[i].Load(), true
}

// SetParam sets an HVM parameter; what it means takes effect.
func (d *Domain) SetParam(i uint32, v uint64) bool {
	if i >= uint32(len(d.params)) {
		return false
	}
	d.params[i].Store(v)
	if i == xenabi.HVMParamCallbackIRQ {
		vector := uint32(0)
		if v>>56 == xenabi.HVMParamCallbackTypeVector && uint8(v) >= 16 {
			vector = uint32(uint8(v))
		}
		d.callback.Store(vector)
	}
	return true
}

// CallbackVector is the vector at which vcpus take events; 0: none yet.
func (d *Domain) CallbackVector() uint8 { return uint8(d.callback.Load()) }
