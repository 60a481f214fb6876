package pvcpu

import (
	"encoding/binary"
	"errors"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/emulate"
	"nidus/personalities/paging"
)

// ioAllowed tells whether what runs may access size ports from port on: by the I/O
// privilege level or by the bitmap (physdev.h, PHYSDEVOP_set_iobitmap).
func (c *CPU) ioAllowed(port uint16, size int) bool {
	if c.ioplAllows() {
		return true
	}
	if uint32(port)+uint32(size) > c.IOPorts {
		return false
	}
	// The bitmap is the kernel's.
	other := c.Width == xenabi.Guest64 && c.UserMode
	if other {
		c.M.SetRoot(c.Root, false)
	}
	b := c.word[:2]
	at := c.IOBitmap + mm.GuestVirt(port/8)
	err := c.M.CopyIn(at, b)
	if err != nil {
		b[1] = 0xff
		err = c.M.CopyIn(at, b[:1])
	}
	if other {
		c.M.SetRoot(c.UserRoot, true)
	}
	mask := uint16(1)<<size - 1
	return err == nil && binary.LittleEndian.Uint16(b)>>(port&7)&mask == 0
}

// portIO carries out IN or OUT.
func (c *CPU) portIO(code []byte, p prefix) bool {
	op := code[p.len]
	size := 1
	if op&1 != 0 {
		size = p.opSize / 8
	}
	r := c.M.Regs()
	port := uint16(r.RDX)
	if op&8 == 0 { // the port is in the instruction
		port = uint16(code[p.len+1])
	}
	if p.badRepl || !c.ioAllowed(port, size) {
		return false
	}
	if op&2 == 0 { // IN
		emulate.SetIn(r, size, emulate.ReadAbsent(port, size))
	}
	return true
}

// errPort says that a port may not be accessed.
var errPort = errors.New("port not allowed")

// access shows a CPU's memory and ports to package emulate.
type access struct{ *CPU }

// In implements emulate.Ports.
func (c access) In(port uint16, size int) (uint32, error) {
	if !c.ioAllowed(port, size) {
		return 0, errPort
	}
	return emulate.ReadAbsent(port, size), nil
}

// Out implements emulate.Ports.
func (c access) Out(port uint16, size int, _ uint32) error {
	if !c.ioAllowed(port, size) {
		return errPort
	}
	return nil
}

// Read implements emulate.Memory.
func (c access) Read(a mm.GuestVirt, p []byte) error { return c.M.CopyIn(a, p) }

// Write implements emulate.Memory.
func (c access) Write(a mm.GuestVirt, p []byte) error { return c.M.CopyOut(a, p) }

// stringIO carries out INS or OUTS. A REP may need several goes: RIP stays.
func (c *CPU) stringIO(code []byte, bits int) (done bool, err error) {
	s := c.stepper(bits)
	res, err := emulate.Step(s, code)
	s.StoreRegs(c.M.Regs())
	if err != nil {
		return c.accessFault(err)
	}
	if res.Done {
		return true, c.retire()
	}
	return true, nil
}

// stepper is package emulate's processor in this one's state.
func (c *CPU) stepper(bits int) *emulate.CPU {
	s := &c.step
	s.Mode, s.Mem, s.Ports = bits, access{c}, access{c}
	s.LoadRegs(c.M.Regs())
	for i := range s.Segs {
		s.Segs[i] = c.segment(virt.SegReg(i))
	}
	return s
}

// accessFault makes the error of an access the guest's. False: it is its #GP.
func (c *CPU) accessFault(err error) (done bool, _ error) {
	var f *paging.Fault
	if errors.As(err, &f) && f.Kind == paging.PageFault {
		c.M.Set(virt.CR2, uint64(f.Addr))
		return true, c.Deliver(virt.Fault(virt.VectorPF, f.Code))
	}
	var e *emulate.Exception
	if errors.As(err, &e) {
		return true, c.Deliver(virt.Fault(e.Vector, e.Code))
	}
	return false, nil
}

// segment is what address computation needs of a segment register.
func (c *CPU) segment(r virt.SegReg) emulate.Segment {
	g := c.M.Segment(r)
	if c.Width == xenabi.Guest64 && r >= virt.FS {
		return emulate.Segment{Base: g.Base, Limit: ^uint32(0)}
	}
	d, ok := c.descriptor(g.Selector)
	if !ok {
		return emulate.Segment{} // nothing can be reached through it
	}
	limit := uint32(d&0xffff | d>>32&0xf0000)
	if d>>55&1 != 0 {
		limit = limit<<12 | 0xfff
	}
	return emulate.Segment{Base: descriptorBase(d), Limit: limit}
}
