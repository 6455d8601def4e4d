//! What a test does and sees with the assets of SiteWise, beside the API.

use std::collections::BTreeSet;

use crate::cloud::Cloud;
use crate::cloud::associations::Group;
use crate::cloud::calls::Operation;
use crate::cloud::state::NotInProject;

impl Cloud {
    /// Associates child assets with a parent asset under a hierarchy, as somebody at the console does. All of them exist from
    /// then on, also without children. An id is the one that calls go by, `externalId:…` included.
    pub fn add_child_assets(
        &self,
        parent: &str,
        hierarchy: &str,
        children: impl IntoIterator<Item = impl Into<String>>,
    ) {
        self.add(&Group::children(parent, hierarchy), children);
    }

    /// The child assets that a parent asset has under a hierarchy.
    pub fn child_assets(&self, parent: &str, hierarchy: &str) -> BTreeSet<String> {
        self.members(&Group::children(parent, hierarchy))
    }

    /// Puts assets into a project, as somebody at the console does. The project exists from then on, also without assets.
    pub fn add_project_assets(&self, project: &str, assets: impl IntoIterator<Item = impl Into<String>>) {
        self.add(&Group::Project(project.to_owned()), assets);
    }

    /// The assets of a project.
    pub fn project_assets(&self, project: &str) -> BTreeSet<String> {
        self.members(&Group::Project(project.to_owned()))
    }

    /// How often calls have really taken the asset off a parent asset or out of a project.
    pub fn effective_asset_disassociations(&self, asset: &str) -> usize {
        let associations = &self.shared.lock().associations;
        let operations = [Operation::DisassociateAssets, Operation::DisassociateProjectAssets];
        operations.iter().map(|operation| associations.taken_off(*operation, asset)).sum()
    }

    /// What disassociating an asset from a project does that is not in it.
    pub fn set_not_in_project(&self, behaviour: NotInProject) {
        self.shared.change(|state| state.settings.not_in_project = behaviour);
    }

    fn add(&self, group: &Group, members: impl IntoIterator<Item = impl Into<String>>) {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        self.shared.add(group, &members);
    }

    fn members(&self, group: &Group) -> BTreeSet<String> {
        self.shared.lock().associations.members(group).into_keys().collect()
    }
}
