package plane

import (
	"errors"
	"strings"
	"testing"

	"nidus/rpc/control"
)

// The list of clients outlives the control plane, and the log says who changed.
func TestClients(t *testing.T) {
	h := newHost(t)
	p, kill := h.plane()
	anna := control.RemoteClient{Name: "anna", Fingerprint: control.Fingerprint{7}, Role: control.RoleAdmin}
	if err := p.AllowClient(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	if err := p.AllowClient(t.Context(), control.RemoteClient{Name: "bob"}); !errors.Is(err, control.ErrBadArgument) {
		t.Error(err)
	}
	kill()
	p, _ = h.plane()
	if all, err := p.Clients(t.Context()); err != nil || len(all) != 1 || all[0] != anna {
		t.Error(all, err)
	}
	if err := p.RevokeClient(t.Context(), "anna"); err != nil {
		t.Error(err)
	}
	if err := p.RevokeClient(t.Context(), "anna"); !errors.Is(err, control.ErrNoClient) {
		t.Error(err)
	}
	log, err := p.Dmesg(t.Context(), false)
	for _, want := range []string{"clients: anna (sha256:07", "anna may connect no more"} {
		if err != nil || strings.Count(string(log), want) != 1 {
			t.Errorf("%q is not once in the log: %s, %v", want, log, err)
		}
	}
}
