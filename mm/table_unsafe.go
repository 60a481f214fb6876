package mm

import "unsafe"

// Table returns the page as a page table. The page must be one that no guest can
// write, and the zero Page has none.
func (pg Page) Table() *Table { return (*Table)(pg.p) }

var _ [PageSize]byte = [unsafe.Sizeof(Table{})]byte{}
var _ [FrameInfoSize]byte = [unsafe.Sizeof(FrameInfo{})]byte{}
