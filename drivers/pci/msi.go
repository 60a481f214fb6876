package pci

import (
	"errors"
	"fmt"

	"nidus/drivers/device"
)

// ErrNoMessages says that a function can't interrupt by messages.
var ErrNoMessages = errors.New("no interrupts by messages")

const (
	msixEnable  = 1 << 31
	msixMask    = 1 << 30
	msixEntry   = 16 // bytes: address, its upper half, data, control
	entryMasked = 1

	msiEnable = 1 << 16
	msiMore   = 7 << 20 // how many messages are enabled, as a power of two
	msiWide   = 1 << 23
)

// MSIX is a function's table of messages (PCI 3.0, section 6.8.2).
type MSIX struct {
	f     *Function
	off   uint8
	table device.Registers
	n     int
}

// MSIX maps the table, with all of its messages masked, and turns it on. The error wraps
// ErrNoMessages if there is none.
func (f *Function) MSIX(h device.Host) (*MSIX, error) {
	off, ok := f.Capability(CapMSIX)
	if !ok {
		return nil, fmt.Errorf("PCI function %v has no MSI-X: %w", f.Address, ErrNoMessages)
	}
	control, where := f.Read(int(off)), f.Read(int(off)+4)
	n := int(control>>16&0x7ff) + 1
	bar, err := f.Memory(int(where & 7))
	if err != nil {
		return nil, fmt.Errorf("MSI-X table: %w", err)
	}
	at, size := uint64(where&^7), uint64(n*msixEntry)
	if at > bar.Size || size > bar.Size-at {
		return nil, fmt.Errorf("PCI function %v: its MSI-X table of %d entries at %#x is beyond its memory of %d bytes: %w", f.Address, n, at, bar.Size, ErrNoMemory)
	}
	t, err := h.Map(bar.Addr+at, size)
	if err != nil {
		return nil, err
	}
	f.cfg.Write(f.Address, off, control|msixEnable|msixMask)
	for i := range uint64(n) {
		t.Store32(i*msixEntry+12, entryMasked)
	}
	f.cfg.Write(f.Address, off, control&^msixMask|msixEnable)
	return &MSIX{f, off, t, n}, nil
}

// Len is how many messages the table has.
func (x *MSIX) Len() int { return x.n }

// Set gives entry i its message and unmasks it. Preconditions: i < Len.
func (x *MSIX) Set(i int, m device.Message) {
	e := uint64(i) * msixEntry
	x.table.Store32(e+12, entryMasked)
	x.table.Store32(e, uint32(m.Addr))
	x.table.Store32(e+4, uint32(m.Addr>>32))
	x.table.Store32(e+8, m.Data)
	x.table.Store32(e+12, 0)
}

// Close turns the messages off.
func (x *MSIX) Close() {
	x.f.cfg.Write(x.f.Address, x.off, x.f.Read(int(x.off))&^uint32(msixEnable))
}

// SetMSI gives the function its one message, and turns it on (PCI 3.0, section 6.8.1).
// The error wraps ErrNoMessages if it can't.
func (f *Function) SetMSI(m device.Message) error {
	off, ok := f.Capability(CapMSI)
	if !ok {
		return fmt.Errorf("PCI function %v has no MSI: %w", f.Address, ErrNoMessages)
	}
	control := f.Read(int(off)) &^ (msiEnable | msiMore)
	wide := control&msiWide != 0
	if m.Addr>>32 != 0 && !wide || int(off)+12 > 0xfc {
		return fmt.Errorf("PCI function %v: its MSI does not reach %#x: %w", f.Address, m.Addr, ErrNoMessages)
	}
	f.cfg.Write(f.Address, off, control)
	f.cfg.Write(f.Address, off+4, uint32(m.Addr))
	data := off + 8
	if wide {
		f.cfg.Write(f.Address, off+8, uint32(m.Addr>>32))
		data = off + 12
	}
	f.cfg.Write(f.Address, data, m.Data&0xffff)
	f.cfg.Write(f.Address, off, control|msiEnable)
	return nil
}
