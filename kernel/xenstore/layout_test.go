package xenstore

import (
	"reflect"
	"testing"
)

// xs_wire.h, struct xenstore_domain_interface, written in Go.
type domainInterface struct {
	Req, Rsp                           [1024]byte
	ReqCons, ReqProd, RspCons, RspProd uint32
	ServerFeatures, Connection, Error  uint32
}

func TestLayout(t *testing.T) {
	typ := reflect.TypeFor[domainInterface]()
	for name, off := range map[string]uintptr{
		"Req": offReq, "Rsp": offRsp, "ReqCons": offReqCons, "ReqProd": offReqProd, "RspCons": offRspCons,
		"RspProd": offRspProd, "ServerFeatures": offFeatures, "Connection": offConnection, "Error": offError,
	} {
		if f, _ := typ.FieldByName(name); f.Offset != off {
			t.Errorf("%s is at %d, want %d", name, off, f.Offset)
		}
	}
	// enum xsd_sockmsg_type: counted from XS_CONTROL, with a hole for XS_RESTRICT.
	for got, want := range map[MsgType]MsgType{
		MsgRead: 2, MsgTransactionEnd: 7, MsgWrite: 11, MsgWatchEvent: 15, MsgError: 16,
		MsgSetTarget: 19, MsgResetWatches: 21, MsgDirectoryPart: 22,
	} {
		if got != want {
			t.Errorf("message type %d, want %d", got, want)
		}
	}
	h := Header{1, 2, 3, 4}
	if b := h.Append(nil); len(b) != HeaderSize || DecodeHeader(b) != h {
		t.Errorf("header %v decodes to %+v", b, DecodeHeader(b))
	}
}
