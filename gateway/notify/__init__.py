"""How alerts reach people and programs: ``notifier`` queues and tries again, ``webhook`` signs, ``others`` uses apprise."""
