//go:build tamago

package baremetal

// Temporary: replaced by mm.Frames.

var framePos, frameEnd, frame4 uint64

func scanMemory() {
	end := uint64(ld32(DirectMap+LoaderInfo+8))<<10 + 1<<20
	if end < 64<<20 || end > 3<<30 {
		end = 256 << 20
	}
	lowEnd = end &^ (page2M - 1)
	directEnd = lowEnd
	framePos = (addr(&runtimeEnd) - ImageBase + 64<<20) &^ (page2M - 1)
	frameEnd = lowEnd
}

func kernelFrame2M() uint64 {
	if framePos+page2M > frameEnd {
		return 0
	}
	framePos += page2M
	return framePos - page2M
}

func kernelFrame() uint64 {
	if frame4&(page2M-1) == 0 {
		if frame4 = kernelFrame2M(); frame4 == 0 {
			return 0
		}
	}
	frame4 += page4K
	clear64(DirectMap+frame4-page4K, page4K)
	return frame4 - page4K
}
