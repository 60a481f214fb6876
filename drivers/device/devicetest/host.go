// Package devicetest is a machine of Go's memory, for tests of drivers.
package devicetest

import (
	"fmt"
	"sync"

	"nidus/drivers/device"
	"nidus/mm"
)

// Host implements device.Host. Its zero value has memory without end.
type Host struct {
	// Most bounds the frames that are allocated; 0: no bound.
	Most int
	// Window finds a device's registers at a physical address.
	Window func(addr, n uint64) (device.Registers, error)
	// PortWindow finds a device's ports.
	PortWindow func(first, n uint16) (device.Registers, error)
	// NumCPU is what CPUs returns; CPU goes round. 0: one.
	NumCPU int

	mu     sync.Mutex
	pages  map[mm.MFN]mm.Page
	next   mm.MFN
	turn   int
	lines  []chan struct{}
	closed chan struct{}
	done   sync.WaitGroup
}

// firstFrame is where the memory begins: not at 0, which a driver may forget to set.
const firstFrame = 0x100000

// Alloc implements device.Memory.
func (h *Host) Alloc(order uint, _ mm.Zone) (mm.MFN, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Most > 0 && len(h.pages)+1<<order > h.Most {
		return 0, mm.ErrNoMemory
	}
	if h.pages == nil {
		h.pages, h.next = map[mm.MFN]mm.Page{}, firstFrame
	}
	h.next = (h.next + 1<<order - 1) &^ (1<<order - 1)
	m := h.next
	for range 1 << order {
		h.pages[h.next] = mm.NewPage()
		h.next++
	}
	return m, nil
}

// Free implements device.Memory. It panics if the frames are not in use.
func (h *Host) Free(m mm.MFN, order uint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range mm.MFN(1) << order {
		if _, ok := h.pages[m+i]; !ok {
			panic(fmt.Sprintf("devicetest: frame %#x is freed twice", m+i))
		}
		delete(h.pages, m+i)
	}
}

// Frames is how many are in use.
func (h *Host) Frames() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pages)
}

// Page implements mm.DirectMap. It panics if the frame is not in use, as for a device that
// reaches what it should not.
func (h *Host) Page(m mm.MFN) mm.Page {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.pages[m]
	if !ok {
		panic(fmt.Sprintf("devicetest: frame %#x is not in use", m))
	}
	return p
}

// dmaOffset is between a frame's address and the one that a device uses: a driver that
// takes one for the other finds no memory.
const dmaOffset = 1 << 40

// DMA implements device.Memory.
func (h *Host) DMA(m mm.MFN) uint64 { return uint64(m)<<mm.PageShift + dmaOffset }

// At finds the page and the offset of an address of DMA.
func (h *Host) At(addr uint64) (mm.Page, int) {
	return h.Page(mm.MFN((addr - dmaOffset) >> mm.PageShift)), int(addr & mm.PageMask)
}

// Map implements device.Host.
func (h *Host) Map(addr, n uint64) (device.Registers, error) { return h.Window(addr, n) }

// Ports implements device.Host.
func (h *Host) Ports(first, n uint16) (device.Registers, error) { return h.PortWindow(first, n) }

// Interrupt implements device.Host.
func (h *Host) Interrupt(_ int, handle func()) (device.Message, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.closed = make(chan struct{})
	}
	line := make(chan struct{}, 1)
	h.lines = append(h.lines, line)
	h.done.Add(1)
	go func() {
		defer h.done.Done()
		for {
			select {
			case <-line:
				handle()
			case <-h.closed:
				return
			}
		}
	}()
	return device.Message{Addr: 0xfee00000, Data: uint32(len(h.lines) - 1)}, nil
}

// Send delivers a message of Interrupt's.
func (h *Host) Send(m device.Message) {
	h.mu.Lock()
	line := h.lines[m.Data]
	h.mu.Unlock()
	select {
	case line <- struct{}{}:
	default: // the one that waits stands for both
	}
}

// Close ends the goroutines of interrupts.
func (h *Host) Close() {
	h.mu.Lock()
	if h.closed != nil {
		close(h.closed)
	}
	h.mu.Unlock()
	h.done.Wait()
}

// CPUs implements device.Host.
func (h *Host) CPUs() int { return max(h.NumCPU, 1) }

// CPU implements device.Host.
func (h *Host) CPU() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn++
	return h.turn % h.CPUs()
}
