package store

import (
	"testing"

	"latchkey/handler/internal/storetest"
)

func TestContract(t *testing.T) {
	a := start(t)
	storetest.Run(t, func(t *testing.T) storetest.Store { return a.store(t, account, a.client) })
	t.Run("budgets", func(t *testing.T) { storetest.Buckets(t, a.store(t, account, a.client)) })
	t.Run("identities", func(t *testing.T) { storetest.Identities(t, a.store(t, account, a.client).Identities()) })
	t.Run("clinicians", func(t *testing.T) {
		s := a.store(t, account, a.client)
		storetest.Clinicians(t, s.Clinicians(), s)
	})
}
