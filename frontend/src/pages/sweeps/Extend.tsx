/** More values for a sweep: the server makes only what is new. */
import { Autocomplete, Button, Group, Modal, Text, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useAttempt } from '../../api/attempt';
import { api, data, messageOf, type Sweep } from '../../api/client';
import { Failure } from '../../components/parts';
import { useUnsaved } from '../../components/unsaved';

/** `gone`: why there is no such sweep any more, while somebody types. */
export function Extend({ sweep, gone, opened, onClose }: { sweep: Sweep; gone: Error | null; opened: boolean; onClose: () => void }) {
  const known = [...new Set([...Object.keys(sweep.spec.grid ?? {}), ...(sweep.spec.bases ?? []).flatMap((base) => Object.keys(base.grid ?? {})), 'seed', 'beta'])];
  const [path, setPath] = useState(known[0]!);
  const [values, setValues] = useState('');
  const typed = values.trim() !== '';
  useUnsaved(opened && typed);
  const client = useQueryClient();
  const attempt = useAttempt();
  const extend = useMutation({
    mutationFn: () => {
      const grid = { [path.trim()]: values };
      return attempt([sweep.id, grid], (header) => data(api.POST('/api/v1/sweeps/{sweep_id}/extend', { params: { path: { sweep_id: sweep.id }, header }, body: { grid } as never })));
    },
    onSuccess: (answer) => {
      client.setQueryData(['sweep', sweep.id], answer.sweep);
      void client.invalidateQueries({ queryKey: ['sweep', sweep.id] });
      void client.invalidateQueries({ queryKey: ['runs'] });
      notifications.show({ message: answer.changed ? `${answer.changed} new run${answer.changed === 1 ? '' : 's'} queued` : 'Nothing new: the sweep has all of these already' });
      setValues('');
      onClose();
    },
  });
  return (
    <Modal opened={opened} onClose={onClose} closeOnEscape={!typed} closeOnClickOutside={!typed} title={<Text fw={600}>Extend the sweep</Text>}>
      <form onSubmit={(event) => { event.preventDefault(); extend.mutate(); }} style={{ display: 'grid', gap: 12 }}>
        {gone && <Failure title="This sweep cannot be extended any more" error={gone} />}
        <Autocomplete label="Field" description="Its path in the configuration." data={known} value={path} onChange={setPath} comboboxProps={{ shadow: 'md' }} />
        <TextInput label="Further values" description="0.01, 0.03, 0.1 · log 0.003..0.3 x 6 · 1..4" placeholder="3, 4" value={values} onChange={(event) => setValues(event.currentTarget.value)} error={extend.isError ? messageOf(extend.error) : undefined} data-autofocus data-testid="extend-values" />
        <Group justify="flex-end"><Button variant="default" onClick={onClose}>Keep it as it is</Button><Button type="submit" loading={extend.isPending} data-testid="extend-button">Add runs</Button></Group>
      </form>
    </Modal>
  );
}
